"""Exports read by the programs that they are made for; runs where those are, without the project.

Each function compares what its reader finds with the label rows and gives (reader, what was seen).
"""

import contextlib
import io
import json
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from label_studio_sdk.label_interface import LabelInterface
from pycocotools.coco import COCO

FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")


def read_csv(folder, rows):
    table = pd.read_csv(folder / "csv.csv", keep_default_na=False)
    scores = table.pivot_table(index="path", columns="class", values="score", sort=False)
    for row in rows:
        found = scores.loc[safe(row["path"])]
        assert {name: found[safe(name)] for name in row["scores"]} == row["scores"]
    labelled = table[table["label"] == 1].groupby("image_id")["class"].agg(set)
    for row in rows:
        assert labelled.get(row["image_id"], set()) == set(map(safe, row["labels"]))
    assert (table["thresholds_version"] == 3).all()
    return "pandas", f"{len(table)} lines"


def read_csv_wide(folder, rows):
    table = pd.read_csv(folder / "csv_wide.csv", keep_default_na=False)
    assert table["path"].tolist() == [safe(row["path"]) for row in rows]
    for name in rows[0]["scores"]:
        assert table[safe(name)].tolist() == [row["scores"][name] for row in rows]
    return "pandas", f"{len(table)} lines, {len(table.columns)} columns"


def read_parquet_as_pandas(folder, rows):
    table = pd.read_parquet(folder / "parquet.parquet")
    check_columns(table.to_dict("list"), rows)
    return "pandas", f"{table.shape[0]} rows, {table.shape[1]} columns"


def read_parquet_as_arrow(folder, rows):
    table = pq.read_table(folder / "parquet.parquet")
    check_columns(table.to_pydict(), rows)
    assert json.loads(table.schema.metadata[b"ccd"])["thresholds_version"] == 3
    assert table.schema.field("labels").type == pa.list_(pa.string())
    return "pyarrow", f"{table.num_rows} rows, {table.num_columns} columns"


def check_columns(columns, rows):
    assert list(columns["path"]) == [row["path"] for row in rows]
    assert [list(names) for names in columns["labels"]] == [row["labels"] for row in rows]
    for name in rows[0]["scores"]:
        found = [float(f"{score:.6g}") for score in columns[f"score:{name}"]]
        assert found == [row["scores"][name] for row in rows]


def read_jsonl(folder, rows):
    table = pd.read_json(folder / "jsonl.jsonl", lines=True, dtype=False, precise_float=True)
    assert table["labels"].tolist() == [row["labels"] for row in rows]
    assert table["scores"].tolist() == [row["scores"] for row in rows]
    return "pandas", f"{len(table)} rows"


def read_coco(folder, rows):
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(folder / "coco.json")
    names = {category["id"]: category["name"] for category in coco.loadCats(coco.getCatIds())}
    assert list(names.values()) == list(rows[0]["scores"])
    for image, row in zip(coco.loadImgs(coco.getImgIds()), rows, strict=True):
        found = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        scores = {names[one["category_id"]]: one["score"] for one in found}
        assert image["file_name"] == row["path"]
        assert scores == {name: row["scores"][name] for name in row["labels"]}
    for number, name in names.items():
        assert len(coco.getImgIds(catIds=[number])) == sum(name in row["labels"] for row in rows)
    return "pycocotools", f"{len(coco.imgs)} images, {len(coco.anns)} annotations"


def read_label_studio(folder, rows):
    interface = LabelInterface((folder / "config.xml").read_text())
    interface.validate()
    tasks = json.loads((folder / "label_studio.json").read_text())
    for task, row in zip(tasks, rows, strict=True):
        # Of a task with predictions 2.1.2 fails by itself, for lack of an argument: one by one.
        (prediction,) = task.pop("predictions")
        assert interface.validate_task(task)
        errors = interface.validate_prediction(prediction, return_errors=True)
        assert not errors, errors
        choices = [name for one in prediction["result"] for name in one["value"]["choices"]]
        assert choices == row["labels"]
        assert task["data"]["scores"] == row["scores"]
    return "label-studio-sdk", f"{len(tasks)} tasks"


def safe(text):
    return f"'{text}" if text.startswith(FORMULAS) else text


READERS = {
    "csv": [read_csv],
    "csv_wide": [read_csv_wide],
    "parquet": [read_parquet_as_pandas, read_parquet_as_arrow],
    "jsonl": [read_jsonl],
    "coco": [read_coco],
    "label_studio": [read_label_studio],
}

if __name__ == "__main__":
    place = Path(sys.argv[1])
    expected = json.loads((place / "expected.json").read_text())
    for format, readers in READERS.items():
        for read in readers:
            reader, seen = read(place, expected)
            print(f"| {format} | {reader} | {version(reader)} | {seen} |", flush=True)
