"""No file harms the worker: a decoding child may die, hang or lie, and the next one goes on."""

import os
from pathlib import Path

import pytest

from workers.paths import FileRefused, FoundFile
from workers.sandbox import Inspected, Limits, Sandbox

DECODER = """
import ctypes, os, signal, sys, time
from types import SimpleNamespace

class Broken(Exception):
    code = "truncated"

def once(marker):
    try:
        os.rmdir(marker)
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)

def spin():
    while True:
        pass

def refuse():
    raise Broken("ends before its picture does")

def inspect(data, *, max_pixels):
    act, _, argument = data.decode().partition(" ")
    match act:
        case "segfault": ctypes.string_at(0)
        case "exit": os._exit(3)
        case "spin": spin()
        case "sleep": time.sleep(1000)
        case "memory": bytearray(8 << 30)
        case "write": os.write(os.open(argument, os.O_CREAT | os.O_WRONLY), b"x")
        case "bug": 1 / 0
        case "refuse": refuse()
        case "killed": once(argument)
        case "chatter": print("noise" * 100_000, file=sys.stderr)
    return SimpleNamespace(width=max_pixels, height=2, format="PNG", notes=("alpha",))
"""

FAST = Limits(cpu_seconds=1, wall_seconds=20)


@pytest.fixture(autouse=True)
def decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder whose every file says what it does to the child."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "acting.py").write_text(DECODER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))


def verdicts(
    folder: Path, *acts: str, children: int = 1, limits: Limits = FAST
) -> list[Inspected | FileRefused]:
    files = []
    for i, act in enumerate(acts):
        path = folder / f"{i}.jpg"
        path.write_text(act)
        files.append(FoundFile(path.name.encode(), path.name, os.fsencode(path)))
    with Sandbox(
        max_pixels=7, children=children, decoder="acting:inspect", limits=limits
    ) as sandbox:
        answered = list(sandbox.verdicts(files))
    assert [file for file, _ in answered] == files
    return [verdict for _, verdict in answered]


def codes(found: list[Inspected | FileRefused]) -> list[str]:
    return [v.code if isinstance(v, FileRefused) else "good" for v in found]


def test_a_good_file_comes_with_its_digest_and_facts(tmp_path):
    # printf good | sha256sum
    digest = "770e607624d689265ca6c44884d0807d9b054d23c473c106c72be9de08b7376c"

    assert verdicts(tmp_path, "good") == [Inspected(digest, 4, 7, 2, "PNG", ("alpha",))]


@pytest.mark.parametrize("children", [1, 3])
def test_verdicts_come_in_the_order_of_the_files(tmp_path, children):
    acts = [f"good {i}" if i % 7 else "refuse" for i in range(60)]

    found = verdicts(tmp_path, *acts, children=children)

    assert codes(found) == ["good" if i % 7 else "truncated" for i in range(60)]
    assert len({v.sha256 for v in found if isinstance(v, Inspected)}) == 51


@pytest.mark.parametrize(
    ("act", "code", "message"),
    [
        ("segfault", "decoder_crashed", "SIGSEGV"),
        ("exit", "decoder_crashed", "exit status 3"),
        ("spin", "decoder_crashed", "SIGXCPU"),
        ("memory", "too_large", "memory"),
        ("write {}/written", "undecodable", "File too large"),
        ("bug", "undecodable", "division by zero"),
        ("refuse", "truncated", "ends before its picture does"),
    ],
)
def test_a_harmful_file_is_refused_and_the_next_ones_are_not(tmp_path, act, code, message):
    found = verdicts(tmp_path, "good 1", act.format(tmp_path), "good 2", "good 3")

    assert codes(found) == ["good", code, "good", "good"]
    assert message in str(found[1])


def test_a_file_that_takes_too_long_is_refused(tmp_path):
    found = verdicts(tmp_path, "good", "sleep", limits=Limits(wall_seconds=0.5))

    assert codes(found) == ["good", "decoder_crashed"]
    assert "too long" in str(found[1])


def test_several_deadly_files_in_a_row_cost_only_themselves(tmp_path):
    acts = ["exit", "exit", "good", "exit", *["good"] * 8, "exit", "good"]

    found = verdicts(tmp_path, *acts, children=2)

    assert codes(found) == ["decoder_crashed" if a == "exit" else "good" for a in acts]


def test_a_child_that_is_killed_from_outside_costs_no_file(tmp_path):
    (tmp_path / "marker").mkdir()

    assert codes(verdicts(tmp_path, f"killed {tmp_path}/marker", "good")) == ["good", "good"]


def test_what_a_decoder_prints_is_not_taken_for_an_answer(tmp_path):
    assert codes(verdicts(tmp_path, "chatter", "good")) == ["good", "good"]


def test_files_that_cannot_be_read_are_refused_by_name(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    files = [
        FoundFile(b"pipe", "pipe", os.fsencode(tmp_path / "pipe")),
        FoundFile(b"gone", "gone", os.fsencode(tmp_path / "gone")),
        FoundFile(b"link", "link", refusal=FileRefused("link_outside", "leads out")),
    ]

    with Sandbox(max_pixels=7, children=1, decoder="acting:inspect") as sandbox:
        found = [verdict for _, verdict in sandbox.verdicts(files)]

    assert codes(found) == ["not_a_file", "unreadable", "link_outside"]


def test_a_decoder_that_cannot_be_imported_is_our_own_mistake(tmp_path, capfd):
    file = FoundFile(b"1", "1", os.fsencode(tmp_path / "1"))

    with (
        pytest.raises(RuntimeError, match="does not start"),
        Sandbox(max_pixels=7, children=1, decoder="missing:inspect") as sandbox,
    ):
        list(sandbox.verdicts([file]))
    assert "No module named 'missing'" in capfd.readouterr().err


def test_no_child_outlives_its_sandbox(tmp_path):
    path = tmp_path / "1.jpg"
    path.write_text("good")
    with Sandbox(max_pixels=7, children=1, decoder="acting:inspect") as sandbox:
        next(sandbox.verdicts([FoundFile(b"1", "1", os.fsencode(path))]))
        process = sandbox._children[0].process
        assert process is not None
        assert process.poll() is None

    assert process.returncode is not None
