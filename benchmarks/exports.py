"""Time and memory of exports: 100,000 images, 80 classes, every format but folders of images."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from benchmarks.memory import peak_of_process
from workers.export_labels import WRITERS
from workers.exports.formats import ExportFormat
from workers.exports.source import Export
from workers.files import MANIFEST_BLOCK
from workers.label_tables import Columns, Labels, Table
from workers.stages import Stage

FEW, MANY, CLASSES = 10_000, 100_000, 80
NAMES = [f"class {c:02d}" for c in range(CLASSES)]


def main() -> None:
    """Write one export and print the seconds it took, its bytes and the peak of memory."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("format", type=ExportFormat)
    options = parser.parse_args()
    order = list(range(CLASSES))
    scores = Table([options.folder / "scores.safetensors"], MANY, "probs")
    labels = Labels(
        options.folder / "manifest.parquet",
        Columns(NAMES, order, NAMES),
        scores,
        [0.97] * CLASSES,
        thresholds_version=1,
    )
    target = options.folder / options.format
    started = time.perf_counter()
    export = Export("job_1", Stage.STUDENT, options.format, labels)
    WRITERS[options.format](export, target, lambda _: None)
    seconds = time.perf_counter() - started
    seen = {"seconds": seconds, "bytes": target.stat().st_size, "peak": peak_of_process()}
    print(json.dumps(seen))
    target.unlink()


def bench_exports(folder: Path, _threads: int) -> tuple[str, str, str]:
    """A row of the table: what, seen, aim."""
    seen = {count: _measured(folder / str(count), count) for count in (FEW, MANY)}
    growths = {f: seen[MANY][f]["peak"] - seen[FEW][f]["peak"] for f in WRITERS}
    told = ", ".join(
        f"{format} {one['seconds']:.1f} s ({one['bytes'] / 1e6:.0f} MB)"
        for format, one in seen[MANY].items()
    )
    worst = max(growths, key=growths.__getitem__)
    growth = f"{growths[worst] / 1e6:+.1f} MB ({worst})"
    seen_memory = f"peak memory from {FEW:,} to {MANY:,} images at most {growth}"
    return f"exports of {MANY:,} images x {CLASSES} classes", f"{told}; {seen_memory}", "50 MB"


def _measured(folder: Path, count: int) -> dict[ExportFormat, dict[str, float]]:
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    save_file(
        {"probs": torch.rand(count, CLASSES, generator=generator)}, folder / "scores.safetensors"
    )
    rows = [
        {
            "image_id": f"img_{i:024d}",
            "path": f"images/{i:08d}.jpg",
            "path_raw": f"images/{i:08d}.jpg".encode(),
            "sha256": f"{i:064x}",
            "width": 640,
            "height": 480,
            "format": "JPEG",
            "content": i,
        }
        for i in range(count)
    ]
    pq.write_table(
        pa.Table.from_pylist(rows), folder / "manifest.parquet", row_group_size=MANIFEST_BLOCK
    )
    return {format: _run(folder, format) for format in WRITERS}


def _run(folder: Path, format: ExportFormat) -> dict[str, float]:
    """What a process of its own takes."""
    command = [sys.executable, "-m", "benchmarks.exports", str(folder), format]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(answer.stdout)
    return found


if __name__ == "__main__":
    main()
