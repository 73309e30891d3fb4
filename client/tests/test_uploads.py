"""Files on their way to the service."""

import io
import os
import zipfile

import pytest

from ccd_client.uploads import Upload, folder_files, zipped


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / ".cache").mkdir()
    for name in ("b.jpg", "deep/er/a.png", ".cache/thumb.jpg", ".DS_Store"):
        (tmp_path / name).write_bytes(name.encode() * 1000)
    with open(os.fsencode(tmp_path) + b"/\xff.jpg", "wb") as file:  # noqa: PTH123 (bytes)
        file.write(b"odd")
    return tmp_path


def parts(body):
    """(Content-Disposition, bytes) of each part."""
    lead = b"--mark\r\nContent-Disposition: "
    first, *rest, last = (b"\r\n" + body).split(b"\r\n--mark")
    assert (first, last) == (b"", b"--\r\n")
    heads = [part.split(b"\r\n\r\n", 1) for part in rest]
    return [((b"--mark" + head).removeprefix(lead), content) for head, content in heads]


def upload(files, **more):
    return Upload(files, fields={"name": "ä"}, files_field="files", boundary="mark", **more)


def test_hidden_files_are_not_sent(folder):
    sent = [os.fsencode(path.relative_to(folder)) for path in folder_files(folder)]

    assert sent == [b"b.jpg", b"\xff.jpg", b"deep/er/a.png"]


def test_the_zip_made_on_the_way_holds_every_file(folder):
    counted = []

    archive = zipfile.ZipFile(io.BytesIO(b"".join(zipped(folder, counted.append))))

    assert archive.testzip() is None
    assert {name: archive.read(name) for name in archive.namelist()} == {
        "b.jpg": b"b.jpg" * 1000,
        "deep/er/a.png": b"deep/er/a.png" * 1000,
        "\\xff.jpg": b"odd",
    }
    assert sum(counted) == 5 * 1000 + 13 * 1000 + 3


def test_a_folder_is_one_archive(folder):
    name, archive = parts(b"".join(upload(folder).body()))

    assert name == (b'form-data; name="name"', "ä".encode())
    assert archive[0] == b'form-data; name="archive"; filename="images.zip"'
    assert zipfile.ZipFile(io.BytesIO(archive[1])).testzip() is None


def test_a_zip_file_is_sent_as_it_is(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK")

    assert parts(b"".join(upload(tmp_path / "a.zip").body()))[1] == (
        b'form-data; name="archive"; filename="a.zip"',
        b"PK",
    )


def test_single_files_keep_their_names(tmp_path):
    odd = 'q".jpg'
    (tmp_path / odd).write_bytes(b"1")
    (tmp_path / "é.jpg").write_bytes(b"2")

    found = parts(b"".join(upload([tmp_path / odd, tmp_path / "é.jpg"]).body()))[1:]

    assert found == [
        (b'form-data; name="files"; filename="q%22.jpg"', b"1"),
        ('form-data; name="files"; filename="é.jpg"'.encode(), b"2"),
    ]


def test_the_same_files_are_the_same_bytes_in_every_try(folder):
    one = upload(folder)

    assert b"".join(one.body()) == b"".join(one.body())


def test_progress_ends_at_the_whole(folder):
    told = []

    list(upload(folder, on_bytes=lambda *now: told.append(now)).body())

    assert told[-1] == (18_003, 18_003)


def test_files_that_are_not_there_are_told_before_anything_is_sent(tmp_path):
    with pytest.raises(FileNotFoundError):
        upload(tmp_path / "none")
