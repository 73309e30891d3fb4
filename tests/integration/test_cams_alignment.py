"""A real worker draws maps of a student that sees red: they lie where the red is, upright."""

import io
import json
import secrets

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from models.overlay import WEIGHT, heat_colors
from models.portable import FORMAT, HEADER
from tests.store_calls import worker_of
from workers import render
from workers.files import write_json
from workers.jobs import Kind, Lane

#: Upright size, and the red square in it: left, top, right, bottom.
WIDTH, HEIGHT = 240, 120
RED = (150, 75, 180, 90)
CAM_SIZE, CELL = 64, 8
#: EXIF orientation -> what turns the upright picture into the stored one.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}


def write_scene(path, orientation):
    """A red square on grey, stored turned."""
    scene = Image.new("RGB", (WIDTH, HEIGHT), (90, 90, 90))
    scene.paste((255, 0, 0), RED)
    if STORED[orientation] is not None:
        scene = scene.transpose(STORED[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    scene.save(path, exif=exif, quality=95)


def student_that_sees_red():
    """Ant is how much redder than green a cell is, bee the opposite, zebra the same everywhere."""
    graph = [
        ["cells", "avg_pool2d", ["pixels", CELL], {}],
        ["maps", "conv2d", ["cells", "weight", "bias"], {}],
        ["logits", "mean", ["maps", [2, 3]], {}],
    ]
    weight = torch.tensor([[1.0, -1, 0], [-1, 1, 0], [0, 0, 0]]).view(3, 3, 1, 1)
    header = {
        "format": FORMAT,
        "preprocessing": {"side": CAM_SIZE, "mean": [0.0] * 3, "std": [1.0] * 3},
        "graph": graph,
        "config": {"cam_size": CAM_SIZE},
    }
    return {"weight": weight, "bias": torch.zeros(3)}, {HEADER: json.dumps(header)}


@pytest.fixture
def folder(api):
    folder = api.root.parent / secrets.token_hex(4)
    folder.mkdir()
    for orientation in STORED:
        write_scene(folder / f"{orientation}.jpg", orientation)
    return folder


@pytest.fixture
def worker(api):
    return worker_of(api.store, api.settings)


@pytest.fixture
def images(api, folder, worker):
    """{EXIF orientation: address of the image in a job with a student}; no map is there yet."""
    for old in api.folder.of(Kind.CAM, "").iterdir():
        api.folder.discard(old)
    source = {"kind": "folder", "path": str(folder)}
    dataset_id = api.post("/v1/datasets", json={"source": source}).json()["id"]
    worker.run_until_empty()
    body = {"dataset_id": dataset_id, "classes": ["zebra", "ant", "bee"], "preset": "tiny"}
    job_id = api.post("/v1/jobs", json=body).json()["id"]
    api.run_until(job_id, "update")
    student_id = f"stu_{job_id.removeprefix('job_')}"

    def make(staging):
        tensors, header = student_that_sees_red()
        save_file(tensors, staging / "student.safetensors", metadata=header)
        write_json(staging / "student.json", {"thresholds": [None] * 3})

    api.folder.produce_at(api.folder.student(student_id), make, nonce="n0")
    api.work(Lane.METHOD, output="", facts={"student_id": student_id})
    listed = api.get(f"/v1/datasets/{dataset_id}/images").json()["data"]
    return {
        int(row["path"].removesuffix(".jpg")): f"/v1/jobs/{job_id}/images/{row['image_id']}"
        for row in listed
    }


def cam(api, worker, image, **query):
    """Ask, let the worker work, ask again."""
    first = api.get(f"{image}/cam", params=query, headers={"Prefer": "wait=0"})
    worker.run_until_empty()
    reply = api.get(f"{image}/cam", params=query, headers={"Prefer": "wait=0"})
    assert (first.status_code, reply.status_code) == (202, 200), reply.text
    return reply.content


def heat(api, worker, image, name, **query):
    content = cam(api, worker, image, **{"class": name, "format": "npy", **query})
    return np.load(io.BytesIO(content), allow_pickle=False)


def middle(hot):
    """Mean position of the true pixels, x and y."""
    rows, columns = np.nonzero(hot)
    return columns.mean() + 0.5, rows.mean() + 0.5


@pytest.mark.parametrize("orientation", STORED)
def test_the_map_lies_where_the_student_saw_the_class(api, worker, images, orientation):
    # The map has 8 x 8 cells, of 30 x 15 pixels of the upright image: the square is one of them.
    found = heat(api, worker, images[orientation], "ant")

    assert (found.dtype, found.shape) == (np.dtype("float32"), (HEIGHT, WIDTH))
    assert middle(found == found.max()) == pytest.approx((165, 82.5), abs=1)
    left, top, right, bottom = RED
    # A third of a cell from its middle each way: (1 - 1/3) ** 2 of its value.
    inner = found[top + 3 : bottom - 3, left + 5 : right - 5]
    assert inner.min() == pytest.approx(4 / 9, abs=0.1)
    found[top - 20 : bottom + 20, left - 40 : right + 40] = 0
    assert np.abs(found).max() < 0.05


def test_the_activations_are_given_raw(api, worker, images):
    red, green = (heat(api, worker, images[1], name) for name in ("ant", "bee"))

    assert np.allclose(red, -green, atol=1e-6)
    # Red 1 less green 0; JPEG and the resize take some of it away at the borders of the cell.
    assert red.max() == pytest.approx(1, abs=0.15)
    assert green.max() == pytest.approx(0, abs=0.05)


def test_a_smaller_map_keeps_the_aspect_and_the_place(api, worker, images):
    found = heat(api, worker, images[6], "ant", max_side=80)

    assert found.shape == (40, 80)
    assert middle(found == found.max()) == pytest.approx((165 / 3, 82.5 / 3), abs=1)


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_picture_is_hottest_where_the_class_is(api, worker, images, orientation):
    content = cam(api, worker, images[orientation], **{"class": "ant"})

    with Image.open(io.BytesIO(content)) as opened:
        assert (opened.format, opened.mode, opened.size) == ("PNG", "RGB", (WIDTH, HEIGHT))
        pixels = np.asarray(opened).astype(float)
    brightest = pixels.sum(axis=2)
    assert middle(brightest > np.quantile(brightest, 0.995)) == pytest.approx((165, 82.5), abs=6)
    # Far from it: grey 90 under the coldest colour.
    cold = heat_colors(torch.tensor(0.0)).numpy() * 255
    assert pixels[5, 5] == pytest.approx((1 - WEIGHT) * 90 + WEIGHT * cold, abs=8)


def test_a_class_seen_everywhere_alike_is_cold_everywhere(api, worker, images):
    content = cam(api, worker, images[1], **{"class": "zebra"})

    pixels = np.asarray(Image.open(io.BytesIO(content)))
    assert pixels[100:, :100].std(axis=(0, 1)).max() < 1


def test_the_student_looks_once_at_an_image(api, worker, images, monkeypatch):
    looks = []
    look = render._Rendering._look
    monkeypatch.setattr(render._Rendering, "_look", lambda self: [looks.append(1), look(self)][1])

    for name in ("ant", "bee", "zebra"):
        for form in ("png", "npy"):
            cam(api, worker, images[1], **{"class": name, "format": form})

    assert len(looks) == 1


@pytest.mark.parametrize("harm", ["changed", "gone", "dataset gone"])
def test_an_image_that_is_not_what_it_was_has_no_map(api, worker, images, folder, harm):
    image = images[3]
    asked = api.get(f"{image}/cam", params={"class": "ant"}, headers={"Prefer": "wait=0"})
    if harm == "changed":
        write_scene(folder / "3.jpg", 2)
    elif harm == "gone":
        (folder / "3.jpg").unlink()
    else:
        job = api.get(image.split("/images")[0]).json()
        api.folder.discard(api.folder.of(Kind.DATASET, job["dataset_id"]))
        worker._bench = None
    worker.run_until_empty()

    reply = api.get(asked.headers["location"])

    expected = (410, "dataset_deleted") if harm == "dataset gone" else (409, "input_changed")
    assert (reply.status_code, reply.json()["code"]) == expected
    assert str(folder) not in reply.text
    assert not list(api.folder.of(Kind.CAM, "").glob("cam_*"))
