"""NUS-WIDE: its list files, 81 concepts, train and test."""

import pytest

from tests.truths import NUS_IMAGES, labels, nus_concepts, write_nus_wide
from workers.truth.read import read_truth
from workers.truth.truth import TruthError

FIRST, SECOND = NUS_IMAGES["train"]
THIRD = NUS_IMAGES["test"][0]
POSITIVES = {"animal": {SECOND}, "sky": {FIRST, THIRD}, "concept78": {SECOND}}


def test_the_whole_set_has_81_concepts_in_the_order_of_their_list(tmp_path):
    truth = read_truth(write_nus_wide(tmp_path / "NUS-WIDE", positives=POSITIVES).parent)

    assert (truth.format, truth.classes) == ("nus_wide", tuple(nus_concepts()))
    assert len(truth.classes) == 81
    assert labels(truth) == {
        "actor/0001_2124494179.jpg": {"sky"},
        "zoo/0002_174174086.jpg": {"animal", "concept78"},
        "administrative_assistant/0003_534152430.jpg": {"sky"},
    }
    assert truth.warnings == ()


def test_a_split_has_lists_of_its_own(tmp_path):
    root = write_nus_wide(tmp_path, positives=POSITIVES)

    assert labels(read_truth(root, split="test")) == {
        "administrative_assistant/0003_534152430.jpg": {"sky"}
    }
    assert len(read_truth(root, split="train").images) == 2


def test_without_lists_of_the_whole_set_both_splits_are_taken(tmp_path):
    root = write_nus_wide(tmp_path, positives=POSITIVES, splits=("train", "test"))

    assert len(read_truth(root).images) == 3


def test_fewer_concepts_than_81_are_told(tmp_path):
    root = write_nus_wide(tmp_path, concepts=["sky", "animal"], positives=POSITIVES)

    truth = read_truth(root)

    assert truth.classes == ("sky", "animal")
    assert [warning.code for warning in truth.warnings] == [
        "truth_concepts_missing",
    ]


@pytest.mark.parametrize("rows", ["\ufeff1\n0\n1\n", "1\x1c\n0\n1\n", "1\u00a00\n\n1"])
def test_marks_and_white_space_of_any_kind_are_no_labels(tmp_path, rows):
    plain, odd = (write_nus_wide(tmp_path / name, positives=POSITIVES) for name in "ab")
    (odd / "Groundtruth/AllLabels/Labels_sky.txt").write_text(rows, encoding="utf-8")

    assert read_truth(odd).images == read_truth(plain).images


def shorten(root):
    (root / "Groundtruth/AllLabels/Labels_sky.txt").write_text("1\n0\n")


def misspell(root):
    (root / "Groundtruth/AllLabels/Labels_sky.txt").write_text("1\n0\n-1\n")


def misspell_behind_a_mark(root):
    text = "\ufeff1\n0\x1cx\n1\n"
    (root / "Groundtruth/AllLabels/Labels_sky.txt").write_text(text, encoding="utf-8")


def encode(root):
    (root / "Groundtruth/AllLabels/Labels_sky.txt").write_bytes("1\n0\n1\n".encode("utf-16"))


def lose_labels(root):
    (root / "Groundtruth/AllLabels/Labels_sky.txt").unlink()


def lose_concept(root):
    (root / "ConceptsList/Concepts81.txt").write_text("\n".join(nus_concepts(80)))


def lose_images(root):
    for path in (root / "ImageList").iterdir():
        path.unlink()


def repeat_list(root):
    (root / "copy").mkdir()
    (root / "copy" / "Imagelist.txt").write_text("a.jpg\n")


@pytest.mark.parametrize(
    ("damage", "split", "code", "said"),
    [
        (shorten, None, "truth_malformed", "Labels_sky.txt has 2 labels, Imagelist.txt has 3"),
        (misspell, None, "truth_malformed", "Labels_sky.txt, line 3 must be 0 or 1, is '-1"),
        (misspell_behind_a_mark, None, "truth_malformed", "Labels_sky.txt, line 2 must be 0 or 1"),
        (encode, None, "truth_encoding", "Labels_sky.txt, line 1: the byte 0xFF"),
        (lose_labels, None, "truth_malformed", "there is no labels_sky.txt"),
        (lose_concept, None, "truth_malformed", "does not list the concept 'concept78'"),
        (lose_images, None, "truth_split_unknown", "no list of images fits the labels"),
        (repeat_list, None, "truth_conflict", "Imagelist.txt is there twice"),
        (lambda _: None, "val", "truth_split_unknown", "the lists have no split 'val'"),
    ],
)
def test_lists_that_do_not_fit_are_told_by_name(tmp_path, damage, split, code, said):
    root = write_nus_wide(tmp_path, positives=POSITIVES)
    damage(root)

    with pytest.raises(TruthError) as caught:
        read_truth(root, split=split)

    assert caught.value.code == code
    assert said in caught.value.message
