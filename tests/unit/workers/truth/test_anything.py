"""Whatever bytes a truth holds, it is read or refused with a reason: never another error."""

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.truths import (
    VOC_PART,
    coco,
    coco_annotation,
    nus_concepts,
    voc_object,
    write_lists,
    write_nus_wide,
    write_voc,
)
from workers.truth.read import read_truth
from workers.truth.truth import TruthError, TruthFormat

ROW = {"path": "a.jpg", "labels": ["cat"], "boxes": [{"name": "cat", "xyxy": [0, 0, 1, 1]}]}
CROWD = coco_annotation(42, 67, iscrowd=1)
FILES = {
    TruthFormat.CSV: 'path,labels,ignored\na.jpg,cat;dog,"b;\\;s"\nb/c.jpg,,\n',
    TruthFormat.ONE_HOT: "path,cat,dog\na.jpg,1,0\nb.jpg,0,?\n",
    TruthFormat.JSONL: json.dumps(ROW) + "\n" + json.dumps({**ROW, "path": "b.jpg"}),
    TruthFormat.COCO: json.dumps(coco(annotations=[coco_annotation(42, 1), CROWD])),
}
#: Bytes that mean something to one of the readers.
TELLING = [b"\0", b"\xff", b"\r", b"\n", b'"', b"\\", b",", b";", b"{", b"]", b"<", b"&x;", b"-1"]


@st.composite
def damages(draw):
    """A change of some bytes: (start and end as shares of the length, what to put there)."""
    start, end = sorted(draw(st.tuples(st.floats(0, 1), st.floats(0, 1))))
    is_short = draw(st.booleans())
    new = draw(st.one_of(st.sampled_from(TELLING), st.binary(max_size=20)))
    return start, start if is_short else end, new


def damaged(content, changes):
    for start, end, new in changes:
        size = len(content)
        content = content[: int(start * size)] + new + content[int(end * size) :]
    return content


def outcome(path, **options):
    """The truth, or the refusal."""
    try:
        return read_truth(path, **options)
    except TruthError as error:
        return error


def check(found):
    """A refusal has a code and says something; a truth contradicts nothing of itself."""
    if isinstance(found, TruthError):
        assert found.code.startswith("truth_")
        assert str(found).isprintable()
        return
    for image in found.images.values():
        assert image.labels | image.ignored <= set(found.classes)
        assert not image.labels & image.ignored
        assert {box.name for box in image.boxes} <= image.labels


@pytest.mark.parametrize("format", list(FILES))
@settings(max_examples=80, deadline=None)
@given(changes=st.lists(damages(), min_size=1, max_size=3), is_named=st.booleans())
def test_a_damaged_file_is_read_or_refused(format, changes, is_named):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "truth"
        path.write_bytes(damaged(FILES[format].encode(), changes))

        check(outcome(path, format=format if is_named else None))


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """A VOC and a NUS-WIDE, whole."""
    root = tmp_path_factory.mktemp("sets")
    person = voc_object("person", parts=VOC_PART)
    write_voc(root / "voc", {"a": [person, voc_object("cat", difficult=1)], "b": []})
    write_lists(root / "voc", {"train": ["a", "b"], "person_train": ["a  1", "b -1"]})
    write_nus_wide(root / "nus_wide", concepts=nus_concepts(3), splits=("train",))
    return root


@pytest.mark.parametrize("kind", ["voc", "nus_wide"])
@settings(max_examples=30, deadline=None)
@given(
    which=st.floats(0, 1, exclude_max=True),
    changes=st.lists(damages(), min_size=1, max_size=3),
    split=st.sampled_from([None, "train"]),
)
def test_a_set_with_a_damaged_file_is_read_or_refused(sets, kind, which, changes, split):
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / kind
        shutil.copytree(sets / kind, copy)
        files = sorted(copy.rglob("*.*"))
        path = files[int(which * len(files))]
        path.write_bytes(damaged(path.read_bytes(), changes))

        check(outcome(copy, split=split))
