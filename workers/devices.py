"""What a worker computes on, and what that is; found out without torch in this process.

Whether there is a GPU to compute on torch alone says, because it does the computing; the driver's
tool adds name and memory. Where they disagree torch is right, and `ccd doctor` tells.
"""

import ctypes
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

#: Comes with the driver, and into containers with the GPU.
GPU_TOOL = "nvidia-smi"
GPU_FIELDS = ("uuid", "name", "memory.total", "memory.used", "utilization.gpu")
#: How long the tool may take, in seconds: a GPU that hangs makes it hang too.
GPU_TOOL_SECONDS = 5.0
MIB = 1 << 20
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
#: Without one of these, the library of the one maker's driver and the device of the other's, torch
#: has no GPU, and need not be asked.
CUDA_DRIVER, ROCM_DEVICE = "libcuda.so.1", Path("/dev/kfd")
#: Importing torch from a cold disk takes half a minute.
TORCH_SECONDS = 180.0


class DeviceUnknown(Exception):
    """torch does not come up, so nothing can be computed here."""


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
    #: Share of the time in which it computes, for whomever, 0..1; of a GPU alone.
    utilization: float | None = None


def choose_device(wanted: str) -> str:
    """The setting `device`, with a device in place of `auto`: `cuda` if torch has it, else `cpu`.

    Raises:
        DeviceUnknown: torch has to be asked and does not answer.
    """
    if wanted != "auto":
        return wanted
    return _ask_torch() if _has_driver() else "cpu"


def find_device(chosen: str) -> Device:
    """What is known of a device, which is not `auto`."""
    kind, _, index = chosen.partition(":")
    if kind == "cuda":
        return find_gpu(int(index or 0)) or Device("cuda")
    return Device("mps") if kind == "mps" else Device("cpu", memory_bytes=_main_memory())


def device_kind(chosen: str) -> str:
    """`cpu`, `cuda` or `mps`: results from one kind are not, byte for byte, those from another."""
    return chosen.partition(":")[0]


def _has_driver() -> bool:
    try:
        ctypes.CDLL(CUDA_DRIVER)
    except OSError:
        return ROCM_DEVICE.exists()
    return True


def _ask_torch() -> str:
    command = [sys.executable, "-m", "workers.hardware", "auto"]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=TORCH_SECONDS
        )
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise DeviceUnknown(f"torch cannot be loaded: {last[0]}") from error
    except subprocess.TimeoutExpired as error:
        raise DeviceUnknown(f"torch did not come up within {TORCH_SECONDS:g} s") from error
    return answer.stdout.strip()


def find_gpu(index: int) -> Device | None:
    """The GPU that CUDA counts as `index`, None where there is none, or no tool that answers."""
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
    uuid, name, total, used, percent = values
    utilization = int(percent) / 100 if percent.isdecimal() else None
    return Device(name, uuid, _bytes(total), _bytes(used), utilization)


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
