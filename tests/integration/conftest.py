"""The API as a real server on a port of its own, and a hand that does the workers' part."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from app.callers import Scope
from app.keys import KeyStore
from models.headers import HEADER, onnx_metadata
from tests.cards import card_of
from tests.serving import RunningServer, wait_until
from workers.files import MANIFEST, SKIPPED, DataFolder, write_json
from workers.jobs import Lane, Phase
from workers.settings import Settings
from workers.sharing import KINDS
from workers.store import Store

CLASSES = ["zebra", {"name": "=ant"}, "bee; \\ honey"]
#: What phase `check` finds: ant, bee, zebra is the canonical order.
CLASS_ORDER = [1, 2, 0]
#: The names of the columns.
COLUMNS = ["=ant", "bee; \\ honey", "zebra"]
SHARD = 2
#: Five files, four distinct: the last has the bytes of the first.
CONTENTS = [0, 1, 2, 3, 0]
COUNTS = {
    "found": 6,
    "accepted": 5,
    "skipped": 1,
    "distinct": 4,
    "duplicates": 1,
    "ignored": 0,
}
PATHS = ["a.jpg", "=b.jpg", "c,\n.png", "d/é.jpg", "z.jpg"]


def student_header() -> dict[str, Any]:
    """Of both files of a student, where columns have thresholds."""
    return {
        "classes": [{"name": name} for name in COLUMNS],
        "thresholds": [0.5, None, 0.3],
        "threshold_basis": "pseudo_f1",
        "thresholds_version": 1,
    }


class Api(httpx.Client):
    """A client of the API; knows the store and the data folder behind it."""

    def __init__(self, url: str, settings: Settings, store: Store, root: Path) -> None:
        super().__init__(base_url=url, timeout=20)
        self.settings, self.store, self.root = settings, store, root
        self.folder = DataFolder(settings.data)

    def work(
        self,
        lane: Lane,
        *,
        output: str = "",
        facts: dict[str, Any] | None = None,
        plan: list[Phase] | None = None,
    ) -> str:
        """Do the next unit of a lane; its record's id."""
        claim = self.store.claim(lane, worker="hand", nonce="n0")
        assert claim is not None
        self.store.complete(claim, output=output, done=1, facts=facts, plan=plan or ())
        return claim.record.id

    def register(self, dataset_id: str) -> None:
        """Publish the five images as a worker would."""
        facts = {
            "counts": COUNTS,
            "formats": {"JPEG": 4, "PNG": 1},
            "bytes": 50,
            "images_digest": "abc",
        }
        rows = [
            {
                "image_id": f"img_{i}",
                "path": path,
                "path_raw": path.encode(),
                "sha256": str(content) * 64,
                "bytes": 10,
                "width": 20,
                "height": 10,
                "format": "JPEG",
                "content": content,
                "notes": [],
            }
            for i, (path, content) in enumerate(zip(PATHS, CONTENTS, strict=True))
        ]
        with self.folder.staging("n0") as staging:
            pq.write_table(pa.Table.from_pylist(rows), staging / MANIFEST, row_group_size=3)
            skipped = '{"path": "e.txt", "code": "unsupported_format", "message": "no image"}\n'
            (staging / SKIPPED).write_text(skipped * 3)
            self.folder.publish(staging, self.folder.dataset(dataset_id))
        assert self.work(Lane.IO, facts=facts) == dataset_id

    def new_dataset(self) -> str:
        """A ready dataset."""
        source = {"kind": "folder", "path": str(self.root)}
        reply = self.post("/v1/datasets", json={"source": source})
        assert reply.status_code == 202, reply.text
        self.register(reply.json()["id"])
        return str(reply.json()["id"])

    def new_job(self, **fields: Any) -> str:
        """A queued job on a ready dataset."""
        body = {"dataset_id": self.new_dataset(), "classes": CLASSES, "preset": "tiny", **fields}
        reply = self.post("/v1/jobs", json=body)
        assert reply.status_code == 202, reply.text
        return str(reply.json()["id"])

    def check(self, job_id: str) -> None:
        """Do the phase `check`."""
        manifest = self.folder.dataset(self.store.get(job_id).request["dataset_id"]) / MANIFEST
        (self.folder.job(job_id) / MANIFEST).write_bytes(manifest.read_bytes())
        plan = [
            Phase("debias", Lane.METHOD),
            Phase("train", Lane.METHOD),
            Phase("localize", Lane.METHOD, units=2),
            Phase("update", Lane.METHOD),
            Phase("score", Lane.METHOD),
        ]
        facts = {
            "class_order": CLASS_ORDER,
            "shard_images": SHARD,
            "counts": {"images": 5, "distinct": 4},
        }
        self.work(Lane.METHOD, facts=facts, plan=plan)

    def publish(self, name: str, file: str, tensors: dict[str, torch.Tensor]) -> None:
        """One output folder of a unit."""
        self.folder.produce(name, lambda staging: save_file(tensors, staging / file), nonce="n0")

    def run_until(self, job_id: str, phase: str) -> None:
        """Do the phases up to `phase`; columns are ant, bee, zebra."""
        for name, step in self._steps(job_id):
            step()
            if name == phase:
                return

    def _steps(self, job_id: str) -> list[tuple[str, Any]]:
        digest = job_id.removeprefix("job_")
        return [
            ("check", lambda: self.check(job_id)),
            ("debias", lambda: self._debias(digest)),
            ("train", lambda: self._train(digest)),
            ("localize", lambda: self._localize(digest)),
            ("update", lambda: self._update(digest)),
            ("score", lambda: self._score(digest)),
        ]

    def _debias(self, digest: str) -> None:
        probs = torch.tensor([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4], [1 / 3, 0, 0], [0, 0, 1]])
        labels = torch.tensor([[0.1, 1, 1], [0.5, 0.5, 0.5], [0, 0, 0], [1, 1, 0.9999999]])
        tensors = {"probs": probs, "labels": labels}
        self.publish(f"debias-{digest}", "labels.safetensors", tensors)
        self.work(Lane.METHOD, output=f"debias-{digest}")

    def _train(self, digest: str) -> None:
        self.publish(f"weights-{digest}", "state.safetensors", {"w": torch.arange(10.0)})
        self.work(Lane.METHOD, output=f"train-{digest}")

    def _localize(self, digest: str) -> None:
        first = {
            "local_probs": torch.tensor([[0.9, 0.1, 0.0], [0, 0, 0]]),
            "boxes": torch.tensor([[0, 1, 5, 6], [2, 2, 9, 9]], dtype=torch.int32),
            "classes": torch.tensor([0, 2], dtype=torch.int32),
            "offsets": torch.tensor([0, 2, 2]),
            "view_probs": torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.0, 0.8]]),
        }
        second = {
            "local_probs": torch.tensor([[0, 0, 0], [0.0, 0.6, 0.4]]),
            "boxes": torch.tensor([[1, 1, 2, 2]], dtype=torch.int32),
            "classes": torch.tensor([1], dtype=torch.int32),
            "offsets": torch.tensor([0, 0, 1]),
            "view_probs": torch.tensor([[0.0, 0.6, 0.4]]),
        }
        for unit, tensors in enumerate((first, second)):
            name = f"localize-{digest}{unit}"
            self.publish(name, "views.safetensors", tensors)
            self.work(Lane.METHOD, output=name)

    def _update(self, digest: str) -> None:
        labels = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5]])
        self.publish(f"update-{digest}", "labels.safetensors", {"labels": labels})
        self.work(Lane.METHOD, output=f"update-{digest}")

    def _score(self, digest: str) -> None:
        probs = torch.tensor([[0.9, 0.1, 0.9], [0.5, 0.5, 0.5], [0.49, 0, 0.2], [0, 1, 0.3]])
        self.publish(f"score-{digest}", "scores.safetensors", {"probs": probs})

        def make(staging: Path) -> None:
            metadata = {HEADER: json.dumps(student_header())}
            save_file({"w": torch.arange(1000.0)}, staging / "student.safetensors", metadata)
            listed = {"classes": COLUMNS, "thresholds": [0.5, None, 0.3]}
            write_json(staging / "student.json", {**listed, "threshold_basis": "pseudo_f1"})

        self.folder.produce_at(self.folder.student(f"stu_{digest}"), make, nonce="n0")
        facts = {"student_id": f"stu_{digest}", "metrics": {"selected_epoch": 1}}
        self._write_result(f"job_{digest}", facts, score=f"score-{digest}")
        self.work(Lane.METHOD, output=f"score-{digest}", facts=facts)

    def _write_result(self, job_id: str, facts: dict[str, Any], *, score: str) -> None:
        """The outcome on disk, as the last unit of a job leaves it."""
        outputs = {**self.store.outputs(job_id), ("score", 0): score}
        result = {
            "status": "succeeded",
            "facts": {**self.store.get(job_id).facts, **facts},
            "outputs": [[phase, unit, name] for (phase, unit), name in sorted(outputs.items())],
        }
        write_json(self.folder.job(job_id) / "result.json", result)

    def export(self, job_id: str) -> None:
        """Do the phase `export`, which the plan of `check` above leaves out."""
        name = f"export-{job_id.removeprefix('job_')}"

        def make(staging: Path) -> None:
            network = b"\x08\x08" + onnx_metadata(json.dumps(student_header()))
            (staging / "student.onnx").write_bytes(network)
            write_json(staging / "model-card.json", card_of(*COLUMNS))
            (staging / "model-card.md").write_text("# As exported")

        self.folder.produce(name, make, nonce="n0")
        self.store.redis.hset(f"ccd:outputs:{job_id}", "export/000000", name)

    def report(self, job_id: str, files: dict[str, str]) -> None:
        """Do the phase `report`, which the plan above leaves out; without files it failed."""
        name = f"report-{job_id.removeprefix('job_')}" if files else ""

        def make(staging: Path) -> None:
            for file, content in files.items():
                (staging / file).write_text(content)

        if files:
            self.folder.produce(name, make, nonce="n0")
        self.store.redis.hset(f"ccd:outputs:{job_id}", "report/000000", name)


@pytest.fixture(scope="session")
def api_settings(valkey_server: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("roots")
    (root / "photos").mkdir()
    return Settings(
        data=tmp_path_factory.mktemp("data"),
        redis_url=valkey_server,
        allowed_roots=[root],
        max_upload_bytes=2_000_000,
        max_archive_members=100,
    )


@pytest.fixture(scope="session")
def running_server() -> type[RunningServer]:
    """To start a service with settings of one's own."""
    return RunningServer


@pytest.fixture(scope="session")
def api_server(api_settings: Settings) -> Iterator[RunningServer]:
    with RunningServer(api_settings) as server:
        yield server


@pytest.fixture(scope="session")
def keyed_server(
    api_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningServer, Settings]]:
    """A service that asks for keys, on a data folder of its own."""
    own = {"data": tmp_path_factory.mktemp("keyed"), "auth": True, "rate_failures": 0}
    settings = Settings(**{**api_settings.model_dump(), **own})
    with RunningServer(settings) as server:
        yield server, settings


@pytest.fixture
def caller(
    keyed_server: tuple[RunningServer, Settings], store: Store
) -> Iterator[Callable[..., Api]]:
    """To be a client with a new key, `caller(Scope.READ, project="streets")`, or with none."""
    (server, settings), clients = keyed_server, []
    root = settings.allowed_roots[0] / "photos"

    def caller(*scopes: Scope, project: str = "ours") -> Api:
        client = Api(server.url, settings, store, root)
        clients.append(client)
        if scopes:
            _, token = KeyStore(client.folder).create("test", scopes, project=project)
            client.headers["Authorization"] = f"Bearer {token}"
        return client

    yield caller
    for client in clients:
        client.close()
    wait_until(lambda: not server.server.server_state.tasks)


@pytest.fixture
def api(api_server: RunningServer, api_settings: Settings, store: Store) -> Iterator[Api]:
    root = api_settings.allowed_roots[0] / "photos"
    with Api(api_server.url, api_settings, store, root) as client:
        _forget_others(client.folder)
        yield client
    # A request writes its line of the log after its answer: none into the next test.
    wait_until(lambda: not api_server.server.server_state.tasks)


def _forget_others(folder: DataFolder) -> None:
    """Those of earlier tests, which Redis forgot: a deletion would leave results to them."""
    for records in (folder.deletions, *map(folder.records, KINDS)):
        for own in records.iterdir():
            folder.discard(own)
