"""`python -m workers.hardware DEVICE WEIGHTS`: devices and possible presets, as JSON."""

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
    wanted, weights = sys.argv[1:]
    missing = {name: missing_weights(preset, Path(weights)) for name, preset in PRESETS.items()}
    told = {
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "devices": devices(),
        "refused": refusal(wanted),
        "presets": missing,
        "hub": any(missing.values()) and hub_answers(),
    }
    print(json.dumps(told))


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
    device = "cpu" if wanted == "auto" and not torch.cuda.is_available() else wanted
    try:
        torch.ones(2, device="cuda" if device == "auto" else device).sum().item()
    except Exception as error:  # noqa: BLE001 - drivers fail in many ways
        return str(error).splitlines()[0]
    return ""


def _gpu(index: int) -> dict[str, Any]:
    free, total = torch.cuda.mem_get_info(index)
    name = torch.cuda.get_device_name(index)
    return {"id": f"cuda:{index}", "name": name, "total": total, "free": free}


if __name__ == "__main__":
    main()
