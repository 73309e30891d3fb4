"""Pascal VOC: difficult objects, splits, lists without annotations, and XML made in bad faith."""

import pytest

from tests.truths import VOC_IMAGE, VOC_PART, labels, voc_object, write_lists, write_voc
from workers.truth.read import read_truth
from workers.truth.truth import TrueBox, TruthError


def ignored(truth):
    return {path: set(image.ignored) for path, image in truth.images.items()}


def test_an_object_is_a_label_and_a_box_that_counts_from_0(tmp_path):
    write_voc(tmp_path, {"2008_000008": [voc_object("horse", box=(53, 87, 471, 420.5))]})

    truth = read_truth(tmp_path)

    assert (truth.format, truth.classes) == ("voc", ("horse",))
    assert labels(truth) == {"2008_000008": {"horse"}}
    assert truth.images["2008_000008"].boxes == (TrueBox("horse", (52.0, 86.0, 471.0, 420.5)),)


def test_a_class_with_difficult_objects_alone_is_neither_there_nor_not(tmp_path):
    objects = [
        voc_object("chair", difficult=1),
        voc_object("sofa", difficult=1),
        voc_object("sofa", box=(2, 2, 3, 3)),
    ]
    write_voc(tmp_path, {"a": objects})

    truth = read_truth(tmp_path)

    assert (labels(truth), ignored(truth)) == ({"a": {"sofa"}}, {"a": {"chair"}})
    assert [box.xyxy for box in truth.images["a"].boxes] == [(1.0, 1.0, 3.0, 3.0)]


def test_a_part_of_an_object_is_no_object(tmp_path):
    write_voc(tmp_path, {"a": [voc_object("person", parts=VOC_PART)]})

    assert read_truth(tmp_path).classes == ("person",)


def test_an_image_without_objects_shows_nothing(tmp_path):
    write_voc(tmp_path, {"a": [], "b": [voc_object("cat")]})

    assert labels(read_truth(tmp_path)) == {"a": set(), "b": {"cat"}}


def test_a_split_is_a_list_of_images(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    write_voc(root, {"a": [voc_object("cat")], "b": [voc_object("dog")], "c": []})
    write_lists(root, {"train": ["b", "gone"], "val": ["a", "c"]})

    truth = read_truth(tmp_path, split="train")

    assert labels(truth) == {"b": {"dog"}}
    (warning,) = truth.warnings
    assert warning.code == "truth_image_missing"
    assert "gone is listed" in warning.message


def test_lists_alone_tell_labels_and_what_is_difficult(tmp_path):
    lists = {
        "train": ["a", "b"],
        "cat_train": ["a  1", "b -1"],
        "dog_train": ["a  0", "b  1"],
        "cat_val": ["c  1"],
        "dog_val": ["c -1"],
    }
    write_lists(tmp_path, lists)

    train, whole = read_truth(tmp_path, split="train"), read_truth(tmp_path)

    assert (labels(train), ignored(train)) == (
        {"a": {"cat"}, "b": {"dog"}},
        {"a": {"dog"}, "b": set()},
    )
    assert labels(whole) == {"a": {"cat"}, "b": {"dog"}, "c": {"cat"}}


def test_a_class_that_no_list_judges_for_an_image_is_ignored_there(tmp_path):
    write_lists(tmp_path, {"cat_train": ["a  1", "b -1"], "dog_train": ["a -1"]})

    assert ignored(read_truth(tmp_path)) == {"a": set(), "b": {"dog"}}


def test_lists_that_differ_from_the_annotations_are_told(tmp_path):
    write_voc(tmp_path, {"a": [voc_object("cat")], "b": [voc_object("cat")]})
    write_lists(tmp_path, {"cat_train": ["a  1", "b -1"]})

    truth = read_truth(tmp_path, split="train")

    (warning,) = truth.warnings
    assert (warning.code, warning.count) == ("truth_sources_differ", 1)
    assert labels(truth) == {"a": {"cat"}, "b": {"cat"}}


def test_a_class_that_no_image_shows_is_known_from_its_list(tmp_path):
    write_lists(tmp_path / "lists", {"cat_train": ["a  1"], "sheep_train": ["a -1"]})
    write_lists(tmp_path / "both", {"cat_train": ["a  1"], "sheep_train": ["a -1"]})
    write_voc(tmp_path / "both", {"a": [voc_object("cat")]})

    for root in (tmp_path / "lists", tmp_path / "both"):
        truth = read_truth(root)

        assert truth.classes == ("cat", "sheep")
        assert truth.images["a"].ignored == frozenset()


@pytest.mark.parametrize("split", ["train", None])
def test_an_image_that_no_list_of_a_class_judges_is_told(tmp_path, split):
    write_lists(tmp_path, {"train": ["a", "b", "c"], "cat_train": ["a  1"]})

    truth = read_truth(tmp_path, split=split)

    (warning,) = truth.warnings
    assert (warning.code, warning.count) == ("truth_image_missing", 2)
    assert "b is listed" in warning.message
    assert list(truth.images) == ["a"]


def test_a_truth_without_any_label_warns_once(tmp_path):
    write_voc(tmp_path, {"a": []})
    write_lists(tmp_path, {"cat_train": ["a -1"]})

    (warning,) = read_truth(tmp_path).warnings
    assert (warning.code, warning.count) == ("truth_no_positives", 1)


BOMB = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<annotation><object><name>&b;</name></object></annotation>"""
OUTSIDE = """<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>
<annotation><object><name>&e;</name></object></annotation>"""


@pytest.mark.parametrize(
    ("xml", "said"),
    [
        (BOMB, "a.xml declares entities or a document type"),
        (OUTSIDE, "a.xml declares entities or a document type"),
        ("<annotation><object>", "a.xml is not XML"),
        ('<?xml version="1.0" encoding="nonsense"?><annotation/>', "a.xml is not XML"),
        ("", "a.xml is not XML"),
        ("<html/>", "must hold an annotation, holds 'html'"),
        ("<annotation><object/></annotation>", "a.xml, object 1: a class name"),
        (
            VOC_IMAGE.format(id="a", objects=voc_object("cat", difficult=2)),
            "must be 0 or 1, is '2'",
        ),
        (VOC_IMAGE.format(id="a", objects=voc_object("cat", box=(1, 1, "x", 2))), "four numbers"),
        (VOC_IMAGE.format(id="a", objects=voc_object("cat", box=(9, 1, 8, 2))), "has no area"),
        (VOC_IMAGE.format(id="a", objects=voc_object("cat", box=(1, 1, "nan", 2))), "has no area"),
    ],
)
def test_an_annotation_that_is_none_is_told_by_name(tmp_path, xml, said):
    write_voc(tmp_path, {})
    (tmp_path / "Annotations" / "a.xml").write_text(xml)

    with pytest.raises(TruthError) as caught:
        read_truth(tmp_path)

    assert said in caught.value.message


def test_deep_nesting_and_large_files_do_no_harm(tmp_path):
    write_voc(tmp_path, {})
    path = tmp_path / "Annotations" / "a.xml"

    path.write_text("<annotation>" + "<a>" * 90_000 + "</a>" * 90_000 + "</annotation>")
    assert labels(read_truth(tmp_path)) == {"a": set()}

    path.write_text("<annotation>" + " " * (1 << 20) + "</annotation>")
    with pytest.raises(TruthError, match="more than 1,048,576 bytes"):
        read_truth(tmp_path)


@pytest.mark.parametrize(
    ("lists", "split", "code", "said"),
    [
        ({"train": ["a"]}, "val", "truth_split_unknown", "there is no split 'val'"),
        ({"cat_train": ["a 2"]}, None, "truth_malformed", "line 1 must end in 1, 0 or -1"),
        ({"cat_train": ["a 1", "b"]}, None, "truth_malformed", "line 2 needs an image"),
        ({"train": ["../../etc/passwd"]}, None, "truth_malformed", "the name of an image"),
        ({"train": [".."]}, None, "truth_malformed", "the name of an image"),
        ({"cattrain": ["a 1"]}, None, "truth_malformed", "not called CLASS_SPLIT.txt"),
        ({"cat_train": ["a 1", "a -1"]}, None, "truth_conflict", "both 1 and -1"),
        ({"train": ["a"]}, None, "truth_empty", "no image"),
    ],
)
def test_a_list_that_is_none_is_told_with_its_place(tmp_path, lists, split, code, said):
    write_lists(tmp_path, lists)

    with pytest.raises(TruthError) as caught:
        read_truth(tmp_path, split=split)

    assert caught.value.code == code
    assert said in caught.value.message


def test_a_folder_of_several_sets_needs_one_to_be_named(tmp_path):
    for year in ("VOC2007", "VOC2012"):
        write_voc(tmp_path / year, {"a": [voc_object("cat")]})

    with pytest.raises(TruthError, match="holds several sets: VOC2007, VOC2012"):
        read_truth(tmp_path)
    assert labels(read_truth(tmp_path / "VOC2007")) == {"a": {"cat"}}
