"""The service without HTTP, for benchmarks: Valkey, a data folder, workers in this process."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from app.children import stop_child
from app.valkey import start_valkey, valkey_url
from demo.world import CLASSES, TUNING_SEEDS, draw_scene
from models.config import DistillConfig
from workers.files import DataFolder
from workers.jobs import Kind, Lane, Phase, Record, new_id
from workers.queue import make_celery, ring
from workers.settings import Settings
from workers.store import Store, open_store
from workers.worker import Worker

REGISTER = [Phase("register", Lane.IO)]
CHECK = [Phase("check", Lane.METHOD, weight=0.01)]
#: Images of a photograph's size are drawn this large.
PHOTO = (640, 480)
#: The smallest images that a folder may well hold have this side.
SMALL_SIDE = 64


class Service:
    """A data folder, its Redis, and a way to ask for work."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store: Store = open_store(settings)
        self.folder = DataFolder(settings.data)
        self.folder.create()
        self._celery = make_celery(settings)

    def worker(self, lane: Lane = Lane.METHOD) -> Worker:
        """A worker in this process, which rings for nobody."""
        return Worker(
            lane,
            settings=self.settings,
            store=self.store,
            name=f"{lane}@benchmark",
            is_draining=lambda: False,
            ring=lambda *_: None,
        )

    def ring(self, lane: Lane = Lane.METHOD) -> None:
        """Wake a worker of another process."""
        ring(self._celery, lane)

    def register(self, images: Path) -> str:
        """A dataset of the images in a folder; its id."""
        dataset_id = new_id("ds")
        request = {"name": None, "source": {"kind": "folder", "path": str(images)}}
        self.store.create(Kind.DATASET, dataset_id, request=request, phases=REGISTER)
        self.worker(Lane.IO).run_until_empty()
        return dataset_id

    def submit(
        self, dataset_id: str, config: DistillConfig, classes: Sequence[str] = CLASSES
    ) -> str:
        """A job; its id."""
        job_id = new_id("job")
        request = {
            "dataset_id": dataset_id,
            "classes": [{"name": name, "prompts": []} for name in classes],
            "config": config.to_dict(),
        }
        self.folder.job(job_id).mkdir(parents=True)
        self.store.create(Kind.JOB, job_id, request=request, phases=CHECK, waits_for=dataset_id)
        return job_id

    def finish(self, job_id: str) -> Record:
        """Do all that is asked for, here; the job as it ended."""
        self.worker().run_until_empty()
        self.worker(Lane.IO).run_until_empty()
        return self.store.get(job_id)

    def forget_results(self) -> None:
        """So that the next job has everything to do."""
        for path in self.folder.phases.iterdir():
            self.folder.discard(path)


@contextmanager
def service(folder: Path, images: Path, **settings: Any) -> Iterator[Service]:
    """A service of one's own that may read `images`; its socket has a short path, as it must."""
    own = Path(tempfile.mkdtemp(prefix="ccd-", dir="/tmp"))
    socket = own / "valkey.sock"
    server = start_valkey(own, socket, log=own / "valkey.log")
    try:
        yield Service(
            Settings(
                data=folder / "data",
                redis_url=valkey_url(socket),
                allowed_roots=[images],
                **settings,
            )
        )
    finally:
        stop_child(server, seconds=10)
        shutil.rmtree(own)


def draw_photos(folder: Path, count: int) -> list[Path]:
    """JPEGs of a photograph's size with as much detail as a scene, enlarged."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{index:05d}.jpg" for index in range(count)]
    for index, path in enumerate(paths):
        draw_scene(TUNING_SEEDS[0], index).image.resize(PHOTO).save(path, quality=88)
    return paths


def small_images(folder: Path, count: int) -> None:
    """Distinct JPEGs of `SMALL_SIDE`."""
    for index in range(count):
        image = Image.new("RGB", (SMALL_SIDE, SMALL_SIDE), (index % 256, index // 256 % 256, 128))
        file = BytesIO()
        image.save(file, "JPEG", comment=str(index).encode())
        (folder / small_name(index)).write_bytes(file.getvalue())


def small_name(index: int) -> str:
    return f"{index:06d}.jpg"
