"""Rows of manifests and tensors, wherever they begin and end."""

import json
import os
import shutil
import struct
from array import array
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow.parquet import write_table

from workers import rows
from workers.files import write_json

# Rows of tensors


@pytest.fixture
def tensors(tmp_path: Path) -> Path:
    """A safetensors file by its specification: x is 3 x 2, y has 3 elements, z is 3 x 1."""
    parts = {
        "x": ("F32", [3, 2], struct.pack("<6f", 0, 1, 2, 3, 4, 5)),
        "y": ("I64", [3], struct.pack("<3q", 10, -11, 1 << 40)),
        "z": ("I32", [3, 1], struct.pack("<3i", 7, 8, -9)),
    }
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, (dtype, shape, content) in parts.items():
        offsets = [len(data), len(data) + len(content)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        data += content
    text = json.dumps(header).encode()
    path = tmp_path / "rows.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_rows_of_a_matrix(tensors):
    assert rows.read_rows(tensors, "x", 1, 3) == [array("f", [2, 3]), array("f", [4, 5])]


def test_rows_of_a_vector_have_one_element(tensors):
    assert rows.read_rows(tensors, "y", 0, 3) == [
        array("q", [10]),
        array("q", [-11]),
        array("q", [1 << 40]),
    ]
    assert rows.read_rows(tensors, "z", 2, 3) == [array("i", [-9])]


def test_rows_past_the_end_are_left_out(tensors):
    assert rows.tensor_rows(tensors, "x") == 3
    assert rows.read_rows(tensors, "x", 2, 99) == [array("f", [4, 5])]
    assert rows.read_rows(tensors, "x", 3, 9) == []


def test_a_tensor_that_is_not_there_is_a_key_error(tensors):
    with pytest.raises(KeyError, match="w"):
        rows.tensor_rows(tensors, "w")


# The list of images


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10,000 rows in blocks of 4096; every tenth repeats the content of the one before it."""
    content = [i - (i + 1) // 10 for i in range(10_000)]
    table = pa.table(
        {
            "path": [f"{i}.jpg" for i in range(10_000)],
            "path_raw": [b"%d.jpg" % i for i in range(10_000)],
            "sha256": [f"{c:064x}" for c in content],
            "content": pa.array(content, pa.int32()),
        }
    )
    path = tmp_path_factory.mktemp("dataset") / "manifest.parquet"
    write_table(table, path, row_group_size=4096)
    write_json(path.with_name("source.json"), {"root": "/srv/photos"})
    return path


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 3), (4094, 4099), (4096, 8192), (0, 10_000), (9_998, 10_050)]
)
def test_rows_are_read_across_blocks(manifest, start, stop):
    found = rows.manifest_rows(manifest, start, stop)

    assert [row["path"] for row in found] == [f"{i}.jpg" for i in range(start, min(stop, 10_000))]


def test_rows_past_the_end_do_not_exist(manifest):
    assert rows.manifest_count(manifest) == 10_000
    assert rows.manifest_rows(manifest, 10_000, 10_010) == []


def test_all_rows_one_after_the_other(manifest):
    assert [row["path"] for row in rows.iter_manifest(manifest)] == [
        f"{i}.jpg" for i in range(10_000)
    ]
    assert next(rows.iter_manifest(manifest, ["content"])) == {"content": 0}


def test_distinct_images_of_a_folder_on_the_server(manifest):
    paths, digests = rows.content_files(manifest.parent)

    assert (len(paths), len(digests)) == (9_000, 9_000)
    # Row 10 is the tenth content: row 9 repeats row 8.
    assert (paths[9], digests[9]) == (Path("/srv/photos/10.jpg"), f"{9:064x}")
    assert paths[-1:] == [Path("/srv/photos/9998.jpg")]
    assert digests[1:3] == [f"{1:064x}", f"{2:064x}"]
    with pytest.raises(IndexError):
        paths[9_000]


def test_distinct_images_of_an_upload_lie_in_the_dataset(manifest, tmp_path):
    shutil.copy(manifest, tmp_path)
    write_json(tmp_path / "source.json", {"root": None})

    paths, _ = rows.content_files(tmp_path)

    assert paths[9] == tmp_path / "images" / "00000009"


def test_names_that_are_no_text_come_back_as_they_are(tmp_path):
    table = pa.table({"path_raw": [b"a/\xff\n.jpg"], "sha256": ["00" * 32], "content": [0]})
    write_table(table, tmp_path / "manifest.parquet")
    write_json(tmp_path / "source.json", {"root": "/srv"})

    paths, _ = rows.content_files(tmp_path)

    assert os.fsencode(paths[0]) == b"/srv/a/\xff\n.jpg"
