"""Decoding in child processes with limits, so that no image file can harm the worker.

The worker writes paths to a child and reads verdicts: lines of base64 one way, lines of JSON the
other. A child never sends anything that the worker would run.
"""

import base64
import hashlib
import importlib
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from workers import fault_points
from workers.paths import FileRefused, FoundFile, open_regular

#: `inspect(data, max_pixels=...)` gives width, height, format and notes, or raises an error whose
#: `code` says why the file is unusable.
DECODER = "models.images:inspect"
#: Files sent to a child at once. A path has at most 4096 bytes, so they fit into a pipe of 64 KiB
#: and neither side ever waits for the other to read.
BATCH = 8
#: Time a child may take to import the decoder, in seconds.
START_SECONDS = 300.0

_READY = b"ready\n"
_MESSAGE_CHARACTERS = 300


@dataclass(frozen=True)
class Limits:
    """What decoding one file may take."""

    #: Address space beyond what the child has after its imports, in bytes.
    memory_bytes: int = 4 << 30
    #: Processor time, in seconds.
    cpu_seconds: int = 30
    #: Time on the clock, in seconds: reading a large file over a slow network is no fault.
    wall_seconds: float = 120


@dataclass(frozen=True, slots=True)
class Inspected:
    """An image that can be decoded."""

    sha256: str
    bytes: int
    width: int
    height: int
    format: str
    notes: tuple[str, ...]


Verdict = Inspected | FileRefused


class Sandbox:
    """Inspects files in several children at once; verdicts come in the order of the files."""

    def __init__(
        self,
        *,
        max_pixels: int,
        children: int,
        decoder: str = DECODER,
        limits: Limits | None = None,
    ) -> None:
        self._stack = ExitStack()
        limits = limits or Limits()
        self._children = [
            self._stack.enter_context(_Child(decoder, max_pixels, limits)) for _ in range(children)
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def verdicts(self, files: Iterable[FoundFile]) -> Iterator[tuple[FoundFile, Verdict]]:
        """Each file with what its bytes are, or why it is not used."""
        idle, busy = deque(self._children), deque[tuple[_Child, list[FoundFile]]]()
        for batch in _batches(files):
            if not idle:
                child, asked = busy.popleft()
                yield from child.answers(asked)
                idle.append(child)
            child = idle.popleft()
            child.ask(batch)
            busy.append((child, batch))
        for child, asked in busy:
            yield from child.answers(asked)


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def _batches(files: Iterable[FoundFile]) -> Iterator[list[FoundFile]]:
    batch = []
    for file in files:
        batch.append(file)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


class _ChildEnded(Exception):
    """The child is gone, or was ended because a file took it too long."""


class _NotStarted(_ChildEnded):
    """It ended before it had a file."""


class _Child:
    """One decoding process, started when first needed and again when a file has killed it."""

    def __init__(self, decoder: str, max_pixels: int, limits: Limits) -> None:
        self.limits = limits
        given = {"decoder": decoder, "max_pixels": max_pixels, "faults": fault_points.armed()}
        text = json.dumps({**given, **asdict(limits)})
        self.command = [sys.executable, "-m", "workers.sandbox", text]
        self.process: subprocess.Popen[bytes] | None = None
        self.unread = bytearray()
        self.is_ready = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def ask(self, files: list[FoundFile]) -> None:
        """Send the files that are not refused already."""
        lines = [base64.b64encode(file.path) + b"\n" for file in files if file.refusal is None]
        if not lines:
            return
        if self.process is None:
            self.start()
        with suppress(BrokenPipeError):  # `answer` finds the child gone
            self.send(b"".join(lines))

    def answers(self, files: list[FoundFile]) -> Iterator[tuple[FoundFile, Verdict]]:
        """The verdicts on the files that were asked last, in their order."""
        for i, file in enumerate(files):
            if file.refusal is not None:
                yield file, file.refusal
                continue
            try:
                verdict = self.answer()
            except _ChildEnded:
                verdict = self.second_try(file)
                self.ask(files[i + 1 :])
            yield file, verdict

    def second_try(self, file: FoundFile) -> Verdict:
        """A child that died may have been killed from outside: only the second death counts."""
        self.ask([file])
        try:
            return self.answer()
        except _NotStarted as error:
            raise RuntimeError("the decoding process does not start") from error
        except _ChildEnded as ended:
            return FileRefused("decoder_crashed", str(ended))

    def answer(self) -> Verdict:
        self.wait_until_ready()
        content = json.loads(self.line(self.limits.wall_seconds))
        if "code" in content:
            return FileRefused(str(content["code"]), str(content["message"]))
        content["notes"] = tuple(map(str, content["notes"]))
        return Inspected(**content)

    def wait_until_ready(self) -> None:
        """Children start side by side: each is waited for only when its answer is wanted."""
        if self.is_ready:
            return
        try:
            self.is_ready = self.line(START_SECONDS) == _READY.strip()
        except _ChildEnded as ended:
            raise _NotStarted(str(ended)) from ended

    def line(self, seconds: float) -> bytes:
        """The next line that the child writes, within `seconds`."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self.unread:
            chunk = self.read_before(deadline)
            if not chunk:
                raise _ChildEnded(f"decoding it ended the decoder ({self.end()})")
            self.unread += chunk
        line, _, self.unread = self.unread.partition(b"\n")
        return bytes(line)

    def read_before(self, deadline: float) -> bytes:
        assert self.process is not None
        assert self.process.stdout is not None
        handle = self.process.stdout.fileno()
        if not select.select([handle], [], [], max(0.0, deadline - time.monotonic()))[0]:
            self.end()
            raise _ChildEnded("decoding it took too long")
        return os.read(handle, 1 << 16)

    def send(self, lines: bytes) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        unsent = memoryview(lines)
        while unsent:
            unsent = unsent[os.write(self.process.stdin.fileno(), unsent) :]

    def start(self) -> None:
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": _search_path()},
            start_new_session=True,  # Ctrl-C goes to the worker, whose end closes the pipe
        )
        self.is_ready = False

    def end(self) -> str:
        """End the child and forget what it wrote; how it ended."""
        if self.process is None:
            return "gone"
        process, self.process = self.process, None
        self.unread.clear()
        process.kill()
        with process:
            return _cause(process.wait())


def _cause(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"


def _search_path() -> str:
    """Where the child finds this package, installed or not."""
    here = str(Path(__file__).resolve().parents[1])
    return os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))


# What runs in the child


def main() -> None:
    """Answer paths with verdicts until the worker closes the pipe."""
    given = json.loads(sys.argv[1])
    module, _, name = given["decoder"].partition(":")
    inspect = getattr(importlib.import_module(module), name)
    limits = Limits(**{key: given[key] for key in asdict(Limits())})
    if given["faults"] is not None:
        text, marks = given["faults"]
        fault_points.arm(fault_points.read_faults(text), Path(marks))
    _restrict(limits)
    _answer(_READY)
    for line in sys.stdin.buffer:
        _allow_cpu(limits.cpu_seconds)
        verdict = _judge(base64.b64decode(line), inspect, given["max_pixels"])
        _answer(json.dumps(verdict).encode() + b"\n")


def _restrict(limits: Limits) -> None:
    os.nice(5)
    used = int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + limits.memory_bytes,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What image libraries print about a file is no news.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _allow_cpu(seconds: int) -> None:
    """Processor time for one more file; the soft limit may be raised again and again."""
    soft = int(time.process_time()) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _answer(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def _judge(path: bytes, inspect: Callable[..., Any], max_pixels: int) -> dict[str, Any]:
    fault_points.fault("decode.file", os.fsdecode(path))
    try:
        content = _read(path)
        facts = inspect(content, max_pixels=max_pixels)
    except MemoryError:
        return {"code": "too_large", "message": "takes more memory than decoding may take"}
    except Exception as error:  # noqa: BLE001 (no decoder is free of bugs; the job goes on)
        code = getattr(error, "code", "undecodable")
        return {"code": code, "message": str(error)[:_MESSAGE_CHARACTERS]}
    return {
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "width": facts.width,
        "height": facts.height,
        "format": facts.format,
        "notes": list(facts.notes),
    }


def _read(path: bytes) -> bytes:
    with os.fdopen(open_regular(path), "rb") as file:
        try:
            return file.read()
        except OSError as error:
            raise FileRefused("unreadable", f"cannot be read: {error.strerror}") from error


if __name__ == "__main__":
    main()
