"""What this machine lends to the service: files, devices, networks, weights."""

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.doctor.findings import Finding, ok, problem, skipped, warning
from workers.devices import GPU_TOOL, TORCH_SECONDS, find_gpu
from workers.settings import Settings

#: The API holds a socket for each caller, an upload a file or two, Valkey what its workers ask.
MIN_OPEN_FILES = 1024


def check_open_files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = "no limit" if soft == resource.RLIM_INFINITY else f"{soft} open files"
    if soft == resource.RLIM_INFINITY or soft >= MIN_OPEN_FILES:
        return ok("machine.open_files", found)
    return problem(
        "machine.open_files",
        found,
        wanted=f"at least {MIN_OPEN_FILES}",
        remedy="ulimit -n 4096, or LimitNOFILE=4096 in the unit of systemd",
    )


def check_weights_folder(settings: Settings) -> Finding:
    folder = settings.weights_folder
    if folder.is_dir():
        return ok("weights.folder", str(folder))
    if settings.weights is None:
        return ok("weights.folder", f"{folder} is not there yet; the service makes it")
    return problem(
        "weights.folder",
        f"CCD_WEIGHTS names {folder}, which is no folder",
        wanted="the folder with the files of weights",
        remedy=f"mkdir -p {folder}, or set CCD_WEIGHTS to where they are",
    )


def check_hardware(settings: Settings) -> Iterator[Finding]:
    """Devices and presets; torch is loaded by a process of its own."""
    command = [sys.executable, "-m", "workers.hardware", settings.device]
    try:
        ended = subprocess.run(
            [*command, str(settings.weights_folder)],
            capture_output=True,
            text=True,
            timeout=TORCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        yield _broken(f"it did not come up within {TORCH_SECONDS:g} s")
        return
    if ended.returncode:
        yield _not_loaded(ended.stderr)
        return
    told = json.loads(ended.stdout)
    yield ok("machine.torch", f"torch {told['torch']}, torchvision {told['torchvision']}")
    yield from _devices(told, settings.device)
    for name, missing in told["presets"].items():
        yield _preset(name, missing, settings.weights_folder, hub=told["hub"])


def _not_loaded(said: str) -> Finding:
    last = said.strip().splitlines()[-1:] or ["it said nothing"]
    if "No module named 'torch'" in last[0]:
        return skipped("machine.torch", "no torch here: ask on a machine with a worker")
    return _broken(last[0])


def _broken(reason: str) -> Finding:
    return problem(
        "machine.torch",
        f"torch or torchvision cannot be loaded: {reason}",
        wanted="a pair that belongs together",
        remedy="pip install --require-hashes -r requirements/worker.txt",
    )


def _devices(told: dict[str, Any], wanted: str) -> Iterator[Finding]:
    for device in told["devices"]:
        size = f", {device['free']:,} of {device['total']:,} bytes free" if device["total"] else ""
        yield ok(f"machine.{device['id']}", f"{device['name']}{size}")
    if told["refused"]:
        yield problem(
            "machine.device",
            f"CCD_DEVICE={wanted}: {told['refused']}",
            wanted=f"one of auto, {', '.join(device['id'] for device in told['devices'])}",
            remedy="export CCD_DEVICE=auto, or see with nvidia-smi why the device is not there",
        )
        return
    yield _chosen(told, wanted)


def _chosen(told: dict[str, Any], wanted: str) -> Finding:
    """What a worker here computes on, which torch decides; the driver's tool may see another."""
    chosen, version = told["chosen"], told["torch"]
    said = f"CCD_DEVICE={wanted}: a worker computes on {chosen}"
    kind, _, index = chosen.partition(":")
    gpu = find_gpu(int(index or 0)) if kind in {"cpu", "cuda"} else None
    if wanted == "auto" and kind == "cpu" and gpu is not None:
        return warning(
            "machine.device",
            f"{said}; {GPU_TOOL} shows {gpu.name}, which torch {version} cannot use",
            wanted="a torch built for CUDA, and a driver that is new enough for it",
            remedy="install such a torch; or, if the CPU is what you want, export CCD_DEVICE=cpu",
        )
    if kind == "cuda" and gpu is None:
        return warning(
            "machine.device",
            f"{said}; {GPU_TOOL} does not answer, so nobody is told of its memory and use",
            wanted=f"{GPU_TOOL} on the PATH",
            remedy="in a container, set NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        )
    return ok("machine.device", said)


def _preset(name: str, missing: list[str], folder: Path, *, hub: bool) -> Finding:
    check, files = f"presets.{name}", ", ".join(missing)
    if not missing:
        return ok(check, "its weights are here")
    if hub:
        return ok(check, f"{files}: not here, fetched when first needed")
    return warning(
        check,
        f"not possible without {files}, and the model hub does not answer",
        wanted="the files of its weights",
        remedy=f"put them into {folder}, or set CCD_WEIGHTS to where they are",
    )
