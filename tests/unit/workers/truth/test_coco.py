"""COCO's instances file: crowds, images without annotations, annotations without images."""

import json

import pytest

from tests.truths import COCO_CATEGORIES, coco, coco_annotation, coco_image, write_coco
from workers.truth.json_stream import read_elements
from workers.truth.read import read_truth
from workers.truth.truth import TrueBox, TruthError

FILE = "COCO_val2014_000000000042.jpg"


@pytest.fixture
def read(tmp_path):
    def from_content(content):
        return read_truth(write_coco(tmp_path / "instances_val2014.json", content))

    return from_content


def test_an_annotation_is_a_label_and_a_box(read):
    truth = read(coco())

    assert truth.format == "coco"
    assert truth.classes == ("person", "bicycle", "dining table")
    assert truth.images[FILE].labels == {"person"}
    assert truth.images[FILE].boxes == (TrueBox("person", (10.5, 20.0, 40.5, 60.25)),)


def test_a_crowd_says_that_its_class_is_there_but_is_no_object(read):
    crowd = coco_annotation(42, 1, iscrowd=1, segmentation={"counts": [1, 2], "size": [2, 2]})
    truth = read(coco(annotations=[crowd, coco_annotation(42, 67)]))

    assert truth.images[FILE].labels == {"person", "dining table"}
    assert [box.name for box in truth.images[FILE].boxes] == ["dining table"]


def test_an_image_without_annotations_shows_nothing(read):
    truth = read(coco(images=[coco_image(42), coco_image(43)]))

    assert truth.images["COCO_val2014_000000000043.jpg"].labels == frozenset()


def test_an_annotation_of_a_missing_image_is_counted(read):
    truth = read(coco(annotations=[coco_annotation(7, 1), coco_annotation(42, 2)]))

    (warning,) = truth.warnings
    assert (warning.code, warning.count) == ("truth_image_missing", 1)
    assert "annotations[0] is of the image 7" in warning.message
    assert truth.images[FILE].labels == {"bicycle"}


def test_the_lists_may_come_in_any_order(read):
    turned = dict(reversed(coco().items()))

    assert read(turned).images == read(coco()).images


def test_a_box_without_area_leaves_its_label(read):
    truth = read(coco(annotations=[coco_annotation(42, 1, bbox=[1, 1, 0, 5])]))

    assert truth.images[FILE].labels == {"person"}
    assert truth.images[FILE].boxes == ()
    assert [warning.code for warning in truth.warnings] == ["truth_box_without_area"]


def test_a_file_is_the_same_however_it_is_cut_into_pieces(tmp_path, monkeypatch):
    content = coco(images=[coco_image(i) for i in range(40, 60)], info={"é": '\U0001f600 \\ "'})
    path = write_coco(tmp_path / "a.json", content)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False))
    whole = [(e.key, e.index, e.value) for e in read_elements(path)]

    for size in (1, 2, 3, 7, 50):
        monkeypatch.setattr("workers.truth.json_stream.CHUNK_BYTES", size)
        assert [(e.key, e.index, e.value) for e in read_elements(path)] == whole

    assert [value for key, _, value in whole if key == "images"] == content["images"]
    assert [value for key, _, value in whole if key == "info"] == [content["info"]]


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (coco(annotations=[coco_annotation(42, 5)]), "truth_class_unknown", "the category 5"),
        (coco(images=[coco_image(42), coco_image(42)]), "truth_malformed", "images[1] has the id"),
        (coco(categories=[COCO_CATEGORIES[0]] * 2), "truth_malformed", "another category"),
        (
            coco(categories=[{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]),
            "truth_conflict",
            "'a' is listed twice",
        ),
        (
            coco(images=[coco_image(1), {**coco_image(1), "id": 42}]),
            "truth_conflict",
            "has other labels",
        ),
        (coco(annotations=[coco_annotation(42, 1, bbox=[1, 2])]), "truth_malformed", "[0] must"),
        (coco(annotations=[coco_annotation(42, 1, iscrowd=2)]), "truth_malformed", "iscrowd"),
        (coco(annotations=[coco_annotation("42", 1)]), "truth_malformed", "image_id, has '42'"),
        (coco(annotations=[coco_annotation(True, 1)]), "truth_malformed", "image_id, has True"),
        (coco(annotations=[coco_annotation(10**30, 1)]), "truth_malformed", "image_id"),
        (
            coco(annotations={"42": 1}),
            "truth_malformed",
            "annotations must be a list, is {'42': 1}",
        ),
        ({**coco(), "images": None}, "truth_malformed", "images must be a list, is None"),
        (coco(annotations=[7]), "truth_malformed", "annotations[0] must be an object, is 7"),
        (coco(images=[{"id": 1}]), "truth_malformed", "images[0] needs text as file_name"),
        ({"info": {}}, "truth_malformed", "has no images and no categories"),
        ({"images": [coco_image(1)]}, "truth_malformed", "has no categories"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(read, content, code, said):
    with pytest.raises(TruthError) as caught:
        read(content)

    assert caught.value.code == code
    assert said in caught.value.message


GOOD = json.dumps(coco(), indent=0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD[:-1], "found the end"),
        (GOOD[: len(GOOD) // 2], "not JSON"),
        (GOOD + "{}", "something follows the object"),
        (GOOD.replace('"images"', '"licenses"'), "the key 'licenses' is there twice"),
        (GOOD.replace('"images"', "7"), "a key must be text, is 7"),
        (GOOD.replace('"images":', '"images"'), "a colon is missing"),
        (GOOD.replace('"iscrowd": 0,', '"iscrowd": NaN,'), "NaN is no number"),
        (GOOD.replace("100.5", "1" * 5000), "integer string conversion"),
        (GOOD.replace('"images": [', '"images": [,'), "images[0] is not JSON"),
        (GOOD.replace('"licenses": [', '"licenses": [1,],"x":['), "a comma stands before ]"),
        (GOOD.replace("100.5", "[" * 100_000), "is nested too deeply"),
    ],
)
def test_broken_json_is_told_with_its_place(tmp_path, text, said):
    path = tmp_path / "instances.json"
    path.write_text(text)

    with pytest.raises(TruthError) as caught:
        read_truth(path)

    assert caught.value.code == "truth_malformed"
    assert "instances.json" in caught.value.message
    assert said in caught.value.message


@pytest.mark.parametrize("chunk", [40, 1 << 20])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ('{"id": 1,\n "x" 2}', "images[900] is not JSON: Expecting ':' delimiter, line 903"),
        ('{"id": 1,\n "x": NaN}', "images[900] is not JSON: NaN is no number of JSON, line 902"),
    ],
)
def test_broken_json_is_told_with_its_line_in_the_file(tmp_path, monkeypatch, wrong, said, chunk):
    monkeypatch.setattr("workers.truth.json_stream.CHUNK_BYTES", chunk)
    path = tmp_path / "instances.json"
    path.write_text('{"images": [\n' + '{"id": 1},\n' * 900 + wrong + "]}")

    with pytest.raises(TruthError) as caught:
        list(read_elements(path))

    assert said in caught.value.message


def test_a_wrong_byte_is_told_with_its_line(tmp_path):
    path = tmp_path / "instances.json"
    path.write_bytes(b'{"info": {},\n"images": [],\n"x": "\xe9"}')

    with pytest.raises(TruthError, match="line 3: the byte 0xE9 is no UTF-8"):
        read_truth(path)


def test_an_element_without_end_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("workers.truth.json_stream.MAX_ELEMENT_CHARACTERS", 1000)
    monkeypatch.setattr("workers.truth.json_stream.CHUNK_BYTES", 100)
    path = tmp_path / "instances.json"
    path.write_text('{"images": ["' + "a" * 100_000)

    with pytest.raises(
        TruthError, match=r"images\[0\], line 1 is not JSON, or has more than 1,000"
    ):
        read_truth(path)
