"""The devices that torch has here.

`python -m workers.hardware DEVICE` prints the one that a worker computes on, with a folder of
weights as well all of them and the presets that are possible, as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torchvision

from models.availability import hub_answers, missing_weights
from models.config import PRESETS


def main() -> None:
    """Tell about this machine; nothing is fetched and nothing is loaded."""
    wanted, *weights = sys.argv[1:]
    print(json.dumps(_survey(wanted, Path(weights[0]))) if weights else device_of(wanted))


def device_of(wanted: str) -> torch.device:
    """The device that the setting `device` means: as set, or CUDA where there is one."""
    if wanted != "auto":
        return torch.device(wanted)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """A GPU as its driver calls it, or the kind of device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _survey(wanted: str, weights: Path) -> dict[str, Any]:
    missing = {name: missing_weights(preset, weights) for name, preset in PRESETS.items()}
    return {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "devices": devices(),
        "chosen": str(device_of(wanted)),
        "refused": refusal(wanted),
        "presets": missing,
        "hub": any(missing.values()) and hub_answers(),
    }


def devices() -> list[dict[str, Any]]:
    """What networks can run on; bytes are those of a GPU's own memory."""
    cuda = range(torch.cuda.device_count())
    found = [_gpu(index) for index in cuda]
    if torch.backends.mps.is_available():
        found.append({"id": "mps", "name": "Apple GPU", "total": 0, "free": 0})
    threads = torch.get_num_threads()
    return [*found, {"id": "cpu", "name": f"CPU, {threads} threads", "total": 0, "free": 0}]


def refusal(wanted: str) -> str:
    """Why nothing can be computed on the device; empty where it can."""
    try:
        torch.ones(2, device=device_of(wanted)).sum().item()
    except Exception as error:  # noqa: BLE001 - drivers fail in many ways
        return str(error).splitlines()[0]
    return ""


def _gpu(index: int) -> dict[str, Any]:
    free, total = torch.cuda.mem_get_info(index)
    name = torch.cuda.get_device_name(index)
    return {"id": f"cuda:{index}", "name": name, "total": total, "free": free}


if __name__ == "__main__":
    main()
