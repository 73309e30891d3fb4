"""What a worker computes on, found out without torch: a GPU is asked through its own tool."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: Comes with the driver, and into containers with the GPU.
GPU_TOOL = "nvidia-smi"
GPU_FIELDS = ("uuid", "name", "memory.total", "memory.used")
#: How long the tool may take, in seconds: a GPU that hangs makes it hang too.
GPU_TOOL_SECONDS = 5.0
MIB = 1 << 20
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Device:
    """A processor with its memory; None is what could not be found out."""

    name: str
    #: Of a GPU: stays the same as long as there is this piece of hardware.
    uuid: str | None = None
    #: Of a GPU its own, of a CPU what this process may use.
    memory_bytes: int | None = None
    #: By all processes; of a GPU alone.
    memory_used_bytes: int | None = None


def find_device(wanted: str) -> Device:
    """The device that the setting `device` leads to on this machine."""
    kind, _, index = wanted.partition(":")
    if kind in {"auto", "cuda"}:
        gpu = _find_gpu(int(index or 0))
        if gpu is not None:
            return gpu
    return Device(kind) if kind in {"cuda", "mps"} else Device("cpu", memory_bytes=_main_memory())


def device_kind(wanted: str) -> str:
    """`cpu`, `cuda` or `mps`: results from one kind are not, byte for byte, those from another."""
    kind = wanted.partition(":")[0]
    if kind != "auto":
        return kind
    return "cpu" if find_device(wanted).uuid is None else "cuda"


def _find_gpu(index: int) -> Device | None:
    """The GPU that CUDA counts as `index`, None where there is none, or none that answers."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    shown = str(index) if visible is None else _nth(visible.split(","), index)
    if not shown:
        return None
    fields = ",".join(GPU_FIELDS)
    command = [GPU_TOOL, f"--id={shown}", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=GPU_TOOL_SECONDS
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return _read_gpu(answer.stdout)


def _read_gpu(line: str) -> Device | None:
    values = [value.strip() for value in line.strip().split(",")]
    if len(values) != len(GPU_FIELDS):
        return None
    uuid, name, total, used = values
    return Device(name, uuid, _bytes(total), _bytes(used))


def _bytes(mib: str) -> int | None:
    return int(mib) * MIB if mib.isdecimal() else None  # else "[N/A]", as of a part of a GPU


def _nth(items: Sequence[str], index: int) -> str:
    return items[index].strip() if index < len(items) else ""


def _main_memory() -> int:
    """Bytes that this process may use: those of the machine, or of its container."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = CGROUP_LIMIT.read_text().strip()
    except OSError:
        return machine
    return min(machine, int(limit)) if limit.isdecimal() else machine
