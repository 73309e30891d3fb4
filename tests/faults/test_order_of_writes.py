"""What can be seen is durable: a power cut leaves whole folders and files, or none."""

import os
from pathlib import Path

import httpx
import pytest

from tests.serving import RunningServer
from tests.valkeys import mortal_valkey
from workers.files import NAMES, DataFolder, write_json
from workers.settings import Settings


@pytest.fixture
def acts(monkeypatch):
    """What was made durable and what was moved, in order; a moved file keeps its first name."""
    acts = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def note_sync(handle):
        fsync(handle)
        acts.append(("sync", Path(f"/proc/self/fd/{handle}").readlink()))

    def note_move(move):
        def moved(source, target):
            acts.append(("move", Path(source), Path(target)))
            move(source, target)

        return moved

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "rename", note_move(rename))
    monkeypatch.setattr(os, "replace", note_move(replace))
    return acts


def test_a_folder_is_durable_before_it_is_visible_and_then_its_name_is(tmp_path, acts):
    folder = DataFolder(tmp_path)
    folder.create()
    made = []

    def make(staging):
        (staging / "part").mkdir()
        for name in ("data", "part/more"):
            (staging / name).write_bytes(b"x")
        made.append(staging)

    folder.produce("embed-1", make, nonce="n0")

    [staging] = made
    final = folder.phase("embed-1")
    at = acts.index(("move", staging, final))
    synced = [act[1] for act in acts[:at] if act[0] == "sync"]
    inside = [staging / name for name in ("data", "part/more", "part", "MANIFEST.json", "")]
    assert [path for path in inside if path not in synced] == []
    # The seal says that the rest is whole, so it comes behind it, and its own name behind both.
    seal = synced.index(staging / "MANIFEST.json")
    assert {staging / "data", staging / "part/more"} <= set(synced[:seal])
    assert staging in synced[seal:]
    assert ("sync", final.parent) in acts[at:]


def test_a_json_file_is_durable_before_it_replaces_the_one_before(tmp_path, acts):
    write_json(tmp_path / "result.json", {"status": "succeeded"})

    kinds = [act[0] for act in acts]
    assert kinds == ["sync", "move", "sync"]
    (_, partial), (_, source, target), (_, parent) = acts
    assert (partial, target, parent) == (source, tmp_path / "result.json", tmp_path)


def test_the_names_of_an_upload_are_durable_before_it_is_accepted(tmp_path, acts):
    with mortal_valkey() as store:
        settings = Settings(data=tmp_path, redis_url=store.url, reap_seconds=600)
        with RunningServer(settings) as server:
            files = {"files": ("a.jpg", b"x")}
            httpx.post(f"{server.url}/v1/datasets", files=files, timeout=20).raise_for_status()

    visible = [act[0] == "move" and act[2].parent == tmp_path / "datasets" for act in acts]
    synced = [act[1] for act in acts[: visible.index(True)] if act[0] == "sync"]
    assert NAMES in [path.name for path in synced]
    names = next(path for path in synced if path.name == NAMES)
    assert names.parent in synced[synced.index(names) :]
