"""`python -m benchmarks.scaling WHAT` measures, keeps it in docs/scaling.json, writes the page."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.scaling.flops import count_flops
from benchmarks.scaling.memory import measure_memory
from benchmarks.scaling.page import COSTS, DOCUMENT, document
from benchmarks.scaling.redis_costs import measure_redis
from benchmarks.scaling.speeds import measure_speed
from models.config import PRESETS
from workers.experiments.session import commit, processor

#: Units of the jobs by which Redis is measured: those of 1 and of 100 million images.
UNITS = (1000, 10_000)


def main() -> None:
    """Command line: `python -m benchmarks.scaling`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["speed", "memory", "redis", "flops", "page"])
    parser.add_argument("--preset", choices=list(PRESETS), default="offline")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--images", type=int, default=96)
    parser.add_argument("--weights", type=Path, help="a folder with the preset's weights")
    arguments = parser.parse_args()
    costs: dict[str, Any] = json.loads(COSTS.read_text()) if COSTS.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        if arguments.what == "speed":
            found = _origin() | measure_speed(
                Path(folder),
                arguments.preset,
                device=arguments.device,
                threads=arguments.threads,
                images=arguments.images,
                weights=arguments.weights,
            )
            kind = "cpu" if arguments.device == "cpu" else "gpu"
            costs.setdefault("speeds", {})[f"{arguments.preset} {kind}"] = found
        elif arguments.what == "memory":
            costs["memory"] = _origin() | measure_memory(Path(folder))
        elif arguments.what == "redis":
            costs["redis"] = _origin() | measure_redis(Path(folder), UNITS)
        elif arguments.what == "flops":
            costs["flops"] = {preset: count_flops(preset) for preset in PRESETS}
    COSTS.write_text(json.dumps(costs, indent=1, sort_keys=True) + "\n")
    if missing := {"speeds", "memory", "redis", "flops"} - costs.keys():
        sys.exit(f"wrote {COSTS}; {DOCUMENT} also wants {', '.join(sorted(missing))}")
    DOCUMENT.write_text(document(json.loads(COSTS.read_text())))  # in the order of the file
    print(f"wrote {COSTS} and {DOCUMENT}")


def _origin() -> dict[str, str]:
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "processor": processor(),
    }


if __name__ == "__main__":
    main()
