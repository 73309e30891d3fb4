"""Exports in every format for the programs that they are made for: `make readers`.

The images, classes and names are the worst that a dataset may have; what a reader is to find lies
beside the files.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torchvision.datasets import ImageFolder

from workers.export_labels import WRITERS
from workers.exports.folders import SPLITS, write_folders
from workers.exports.formats import SUFFIXES, ExportFormat, Policy
from workers.exports.json_files import label_config
from workers.exports.source import Export
from workers.label_tables import Columns, Labels, Table
from workers.stages import Stage

CLASSES = ["train", "=dog", "bus; \\ stop", 'a "red" <car>', "été 🐕"]
THRESHOLDS = [0.5, 0.3, None, 0.8, 0.6]
PATHS = ["a.png", "=b.png", "c,\n.png", "d/é 🐕.png", "e\\xff.png", "'f\".png", "+1.png", "g h.png"]
IMAGES = 50


def main() -> None:
    """Write the exports, read the folders of images here, and start the other readers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("python", type=Path, help="that of the readers' environment")
    python = parser.parse_args().python
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        labels = write_labels(folder)
        (folder / "expected.json").write_text(json.dumps(labels.read(0, IMAGES)))
        (folder / "config.xml").write_text(label_config(CLASSES))
        print("| format | reader | version | seen |\n| --- | --- | --- | --- |", flush=True)
        for format, write in WRITERS.items():
            export = Export("job_1", Stage.STUDENT, format, labels)
            write(export, folder / f"{format}.{SUFFIXES[format]}", lambda _: None)
        for policy in Policy:
            print(read_folders(folder, labels, policy), flush=True)
        reading = Path(__file__).with_name("read.py")
        sys.exit(subprocess.run([python, reading, folder], check=False).returncode)


def write_labels(folder: Path) -> Labels:
    """Labels of images that are there."""
    (folder / "images").mkdir()
    scores = torch.rand(IMAGES, len(CLASSES), generator=torch.Generator().manual_seed(1))
    scores[0], scores[1] = 0, 1
    save_file({"probs": scores}, folder / "scores.safetensors")
    rows = [image(folder, number) for number in range(IMAGES)]
    pq.write_table(pa.Table.from_pylist(rows), folder / "manifest.parquet", row_group_size=16)
    order = list(range(len(CLASSES)))
    table = Table([folder / "scores.safetensors"], IMAGES, "probs")
    columns = Columns(CLASSES, order, CLASSES)
    return Labels(folder / "manifest.parquet", columns, table, THRESHOLDS, thresholds_version=3)


def image(folder: Path, number: int) -> dict[str, object]:
    """One image and its row of the list."""
    path = PATHS[number] if number < len(PATHS) else f"photos/{number:03d}.png"
    file = folder / "images" / str(number)
    Image.new("RGB", (9, 5), (number, 0, 0)).save(file, "PNG")
    return {
        "image_id": f"img_{number}",
        "path": path,
        "path_raw": path.encode(),
        "sha256": sha256(file.read_bytes()).hexdigest(),
        "width": 9,
        "height": 5,
        "format": "PNG",
        "content": number,
    }


def read_folders(folder: Path, labels: Labels, policy: Policy) -> str:
    """Images in folders as torchvision reads them; a row of the table."""
    export = Export("job_1", Stage.STUDENT, ExportFormat.YOLO_CLS, labels, policy)
    archive, unpacked = folder / f"{policy}.zip", folder / f"folders-{policy}"
    losses = write_folders(
        export, archive, lambda _: None, lambda n: (folder / "images" / str(n)).read_bytes()
    )
    subprocess.run([sys.executable, "-m", "zipfile", "-e", archive, unpacked], check=True)
    names = json.loads((unpacked / "classes.json").read_text())
    train, val = (ImageFolder(unpacked / split, allow_empty=True) for split in SPLITS)
    assert train.class_to_idx == val.class_to_idx
    seen = sorted(
        (picture.getpixel((0, 0))[0], names[train.classes[y]])
        for found in (train, val)
        for picture, y in found
    )
    rows = list(enumerate(labels.read(0, IMAGES)))
    wanted = {
        Policy.TOP1: lambda r: [max(r["labels"], key=r["scores"].get)] if r["labels"] else [],
        Policy.DUPLICATE: lambda r: r["labels"],
        Policy.SKIP: lambda r: r["labels"] if len(r["labels"]) == 1 else [],
    }[policy]
    assert seen == sorted((number, name) for number, row in rows for name in wanted(row))
    assert losses.images == IMAGES - len({number for number, _ in seen})
    assert losses.labels == sum(len(row["labels"]) for _, row in rows) - len(seen)
    told = f"{len(train)} + {len(val)} files of {len(train.classes)} classes; lost"
    return (
        f"| yolo_cls, {policy} | torchvision's ImageFolder | {torchvision.__version__} "
        f"| {told} {losses.images} images, {losses.labels} labels |"
    )


if __name__ == "__main__":
    main()
