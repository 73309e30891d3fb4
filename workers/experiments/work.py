"""What experiments compute, in folders named by their inputs: started again, they go on."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from workers.digests import digest_of
from workers.files import DataFolder, read_json, write_json
from workers.units import OnBatch

#: Told what is going on, a line at a time.
Say = Callable[[str], None]

#: Seconds between two lines about one piece of work.
QUIET_SECONDS = 20.0

#: A piece that was begun so long ago is nobody's: several processes may share the folder, and an
#: epoch of theirs writes nothing until it ends.
ABANDONED_SECONDS = 7 * 24 * 3600.0

TENSORS = "tensors.safetensors"
#: What a piece took to compute, beside it: a run that was interrupted still knows its whole time.
COST = "cost.json"


class Work:
    """The folder of all pieces of work, shared by every experiment that has the same inputs.

    Attributes:
        fingerprint: what the bytes of every piece depend on: versions, device, threads.
        made: names of the pieces that this process computed.
        used: names of the pieces it asked for, those that lay there included.
    """

    def __init__(self, root: Path, fingerprint: Mapping[str, Any], say: Say = print) -> None:
        self._folder = DataFolder(root)
        self._folder.create()
        self._folder.sweep((), quiet_seconds=ABANDONED_SECONDS)
        self._nonce = f"experiment-{os.getpid()}"
        self.fingerprint = dict(fingerprint)
        self.say = say
        self.made: list[str] = []
        self.used: dict[str, None] = {}

    def piece(
        self,
        kind: str,
        *inputs: object,
        what: str,
        make: Callable[[Path, OnBatch], None],
        instead_of: Path | None = None,
    ) -> Path:
        """The folder of a piece of work, filled by `make` unless it is there.

        Args:
            kind: what sort of piece; first part of the folder's name.
            inputs: everything it depends on besides the fingerprint; JSON can hold it.
            what: the piece in words, for whoever watches.
            make: fills the folder it is given, and tells how many images are done.
            instead_of: a piece that is counted no longer: its seconds are added to this one's.
        """
        path = self.path(kind, *inputs)
        self.use(path)
        if self._folder.is_complete(path):
            return path
        earlier = 0.0 if instead_of is None else _seconds(instead_of)
        watch = Watch(what, self.say)

        def timed(staging: Path) -> None:
            make(staging, watch)
            write_json(staging / COST, {"seconds": round(watch.seconds + earlier, 2)})

        self._folder.produce(path.name, timed, nonce=self._nonce)
        self.made.append(path.name)
        if instead_of is not None:
            self.used.pop(instead_of.name, None)
        watch.finish()
        return path

    def path(self, kind: str, *inputs: object) -> Path:
        """Where a piece lies or would lie."""
        return self._folder.phase(f"{kind}-{digest_of(self.fingerprint, kind, *inputs)}")

    def tensors(
        self,
        kind: str,
        *inputs: object,
        what: str,
        make: Callable[[OnBatch], Mapping[str, Tensor]],
    ) -> dict[str, Tensor]:
        """The tensors of a piece of work, computed by `make` unless they are there."""

        def save(staging: Path, on_batch: OnBatch) -> None:
            save_file({k: v.contiguous() for k, v in make(on_batch).items()}, staging / TENSORS)

        return load_file(self.piece(kind, *inputs, what=what, make=save) / TENSORS)

    def use(self, path: Path) -> None:
        """Count a piece among those that were asked for."""
        self.used[path.name] = None

    def is_there(self, path: Path) -> bool:
        """Whether a piece is whole."""
        return self._folder.is_complete(path)

    def drop(self, path: Path) -> None:
        """Remove a piece that nothing needs any more."""
        self._folder.discard(path)

    def seconds(self) -> float:
        """What all pieces asked for took to compute, whenever that was."""
        return math.fsum(_seconds(self._folder.phase(name)) for name in self.used)


class Watch:
    """Tells about a long piece of work now and then, and how long it took."""

    def __init__(self, what: str, say: Say) -> None:
        self._what, self._say = what, say
        self._started = self._told = time.monotonic()

    def __call__(self, done: int) -> None:
        if time.monotonic() - self._told >= QUIET_SECONDS:
            self._told = time.monotonic()
            self._say(f"{self._what}: {done} images")

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self._started, 2)

    def finish(self) -> None:
        self._say(f"{self._what}: {self.seconds:.1f} s")


def _seconds(piece: Path) -> float:
    cost = piece / COST
    return float(read_json(cost)["seconds"]) if cost.exists() else 0.0
