"""Batches come in order, ahead of their use, in bounded memory, and only from the same bytes."""

import hashlib
import io
import os
import threading

import pytest
import torch
from PIL import Image

from models import data
from models.data import ImageChanged, ImageFiles, originals, view_batches


@pytest.fixture
def files(tmp_path):
    """Ten grey pictures: the first is black, each is 20 brighter than the one before."""
    paths, digests = [], []
    for index in range(10):
        buffer = io.BytesIO()
        Image.new("RGB", (20 + index, 16), (20 * index,) * 3).save(buffer, "PNG")
        path = tmp_path / f"{index}.png"
        path.write_bytes(buffer.getvalue())
        paths.append(path if index % 2 else os.fsencode(path))
        digests.append(hashlib.sha256(buffer.getvalue()).hexdigest())
    return ImageFiles(paths, digests)


def decoding_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


@pytest.mark.parametrize("threads", [1, 4])
def test_batches_keep_the_order_asked_for(files, threads):
    order = [7, 3, 9, 0, 1, 8, 2]

    batches = list(view_batches(files, order, side=8, batch_size=3, threads=threads))

    assert [len(images) for _, images in batches] == [3, 3, 1]
    assert torch.cat([indices for indices, _ in batches]).tolist() == order
    images = torch.cat([images for _, images in batches])
    assert (images.shape, images.dtype) == ((7, 3, 8, 8), torch.uint8)
    assert images[:, 0, 0, 0].tolist() == [20 * index for index in order]


def test_no_index_gives_no_batch(files):
    assert list(view_batches(files, [], side=8, batch_size=3, threads=2)) == []
    assert list(originals(files, [], threads=2)) == []


def test_originals_keep_size_and_order(files):
    pairs = list(originals(files, [4, 2, 6], threads=2))

    assert [(index, image.size) for index, image in pairs] == [
        (4, (24, 16)),
        (2, (22, 16)),
        (6, (26, 16)),
    ]


@pytest.mark.parametrize("content", [b"other bytes", None])
def test_a_changed_or_missing_file_is_named(files, tmp_path, content):
    path = tmp_path / "3.png"
    path.unlink() if content is None else path.write_bytes(content)

    with pytest.raises(ImageChanged, match=r"3\.png"):
        list(view_batches(files, range(10), side=8, batch_size=2, threads=2))

    assert decoding_threads() == []


@pytest.mark.parametrize("put", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_pipe_or_a_device_in_place_of_an_image_is_not_waited_for(files, tmp_path, put):
    path = tmp_path / "3.png"
    path.unlink()
    put(path)

    with pytest.raises(ImageChanged, match=r"3\.png: cannot be read \(it is no file any more\)"):
        files.read(3)


def test_a_batch_that_is_not_taken_ends_the_threads(files):
    batches = view_batches(files, range(10), side=8, batch_size=2, threads=2)
    next(batches)
    assert decoding_threads()

    batches.close()

    assert decoding_threads() == []


def test_a_consumer_that_stops_ends_the_threads(files):
    def consume():
        for _ in view_batches(files, range(10), side=8, batch_size=2, threads=2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()

    assert decoding_threads() == []


def test_only_two_batches_are_decoded_ahead(files, monkeypatch):
    begun = []

    def decode_and_count(content, *, target=None):
        begun.append(target)
        return Image.new("RGB", (4, 4))

    monkeypatch.setattr(data, "decode", decode_and_count)
    batches = view_batches(files, range(10), side=8, batch_size=2, threads=2)
    next(batches)
    batches.close()  # waits for what has begun

    assert len(begun) <= 2 + 2 * 2


def test_the_target_of_the_decoding_is_the_side(files, monkeypatch):
    targets = []

    def decode_and_note(content, *, target=None):
        targets.append(target)
        return Image.new("RGB", (4, 4))

    monkeypatch.setattr(data, "decode", decode_and_note)
    list(view_batches(files, [0], side=8, batch_size=2, threads=1))
    list(originals(files, [0], threads=1))

    assert targets == [8, None]


def test_as_many_digests_as_paths_are_needed(tmp_path):
    with pytest.raises(ValueError, match="1 paths need as many digests, there are 0"):
        ImageFiles([tmp_path], [])
