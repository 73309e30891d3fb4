"""Multipart bodies, cut into chunks at any place."""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import Problem
from app.uploads import _PartWriter

BODY = (
    b"--xyz\r\n"
    b'Content-Disposition: form-data; name="name"\r\n\r\n'
    b"caf\xc3\xa9\r\n--xyz\r\n"
    b'content-disposition: form-data; name="files"; filename="a;\\"b\\".jpg"\r\n'
    b"Content-Type: image/jpeg\r\n\r\n"
    b"\r\n--xy\r\n-\x00\xff\r\n\r\n--xyz\r\n"
    b'Content-Disposition: form-data; name="files"; filename="empty"\r\n\r\n'
    b"\r\n--xyz--\r\n"
)


def written(folder, chunks):
    writer = _PartWriter(folder, b"xyz")
    try:
        for chunk in chunks:
            writer.write(chunk)
        writer.finish()
    finally:
        writer.close()
    return writer.upload


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(cuts=st.lists(st.integers(0, len(BODY)), max_size=8))
def test_chunks_may_be_cut_anywhere(tmp_path_factory, cuts):
    places = [0, *sorted(cuts), len(BODY)]
    chunks = [BODY[a:b] for a, b in pairwise(places)]

    upload = written(tmp_path_factory.mktemp("u"), chunks)

    assert upload.fields == {"name": "café"}
    assert [file.raw_name for file in upload.files] == [b'a;"b".jpg', b"empty"]
    assert [file.path.read_bytes() for file in upload.files] == [b"\r\n--xy\r\n-\x00\xff\r\n", b""]
    assert [file.bytes for file in upload.files] == [13, 0]


def test_files_of_a_broken_body_are_closed(tmp_path):
    with pytest.raises(Problem, match="breaks off"):
        written(tmp_path, [BODY[:-12]])
