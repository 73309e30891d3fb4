"""CSV with labels joined, CSV with a column per class, JSON Lines."""

import json

import pytest

from tests.truths import labels
from workers.label_rows import csv_header, csv_lines, escaped_name, ndjson_lines
from workers.truth.read import read_truth
from workers.truth.tables import split_names
from workers.truth.truth import TrueBox, TrueImage, TruthError


def read(tmp_path, content, name="truth.csv", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_truth(path, **options)


def test_a_row_of_a_table_is_a_path_and_labels_joined_by_semicolons(tmp_path):
    truth = read(tmp_path, "path,labels\na.jpg,dog;cat\nsub/b.jpg,\n")

    assert truth.format == "csv"
    assert truth.classes == ("cat", "dog")
    assert truth.images["a.jpg"] == TrueImage("a.jpg", frozenset({"cat", "dog"}))
    assert labels(truth) == {"a.jpg": {"cat", "dog"}, "sub/b.jpg": set()}


def test_columns_may_stand_in_any_order_and_ignored_classes_in_their_own(tmp_path):
    truth = read(tmp_path, "Labels,ignored,Filename\ncat,dog,a.jpg\n")

    assert truth.images["a.jpg"].ignored == {"dog"}
    assert truth.classes == ("cat", "dog")


@pytest.mark.parametrize("name", ["plain", "a;b", "a\\b", "a\\;b", "\\", ";"])
def test_a_name_comes_back_from_our_own_list_of_labels(name):
    assert split_names(f"{escaped_name(name)};{escaped_name('other')}") == [name, "other"]


def test_a_path_comes_back_from_our_own_list_of_labels(tmp_path):
    row = {"image_id": "img_1", "path": "=b,c.jpg", "scores": {"-cat": 0.5}, "labels": ["-cat"]}
    rows = [{**row, "thresholds_version": 1}]

    table = read(tmp_path, csv_header(["-cat"]) + csv_lines(rows))
    lines = read(tmp_path, ndjson_lines(rows), name="truth.ndjson")

    assert labels(table) == labels(lines) == {"=b,c.jpg": {"-cat"}}


def test_a_column_per_class_holds_1_0_or_a_question_mark(tmp_path):
    truth = read(tmp_path, "path,zebra,ant,bee\na.jpg,1,0,?\nb.jpg,0,1.0,false\n")

    assert (truth.format, truth.classes) == ("one_hot", ("zebra", "ant", "bee"))
    assert labels(truth) == {"a.jpg": {"zebra"}, "b.jpg": {"ant"}}
    assert truth.images["a.jpg"].ignored == {"bee"}


def test_windows_line_ends_marks_and_slashes_do_not_matter(tmp_path):
    truth = read(tmp_path, b"\xef\xbb\xbfpath,labels\r\n.\\sub\\a.jpg,caf\xc3\xa9 \r\n\r\n")

    assert labels(truth) == {"sub/a.jpg": {"café"}}


def test_two_spellings_of_a_letter_are_one_class(tmp_path):
    truth = read(tmp_path, "path,labels\na.jpg,caf\u00e9\nb.jpg,cafe\u0301\n")

    assert truth.classes == ("caf\u00e9",)


def test_a_line_of_json_is_an_image_with_labels_and_boxes(tmp_path):
    rows = [
        {"path": "a.jpg", "labels": ["cat", "dog"], "ignored": ["bus"], "image_id": "img_1"},
        {"path": "b.jpg", "boxes": [{"name": "cat", "xyxy": [0, 1, 2.5, 4]}]},
    ]

    truth = read(tmp_path, "\n".join(map(json.dumps, rows)), name="truth.jsonl")

    assert (truth.format, truth.classes) == ("jsonl", ("bus", "cat", "dog"))
    assert truth.images["a.jpg"].ignored == {"bus"}
    assert truth.images["b.jpg"].boxes == (TrueBox("cat", (0.0, 1.0, 2.5, 4.0)),)
    assert labels(truth)["b.jpg"] == {"cat"}
    assert truth.warnings == ()


def test_equal_label_sets_are_kept_once(tmp_path):
    truth = read(tmp_path, "path,labels\na.jpg,cat;dog\nb.jpg,dog;cat\n")

    assert truth.images["a.jpg"].labels is truth.images["b.jpg"].labels


def test_a_row_that_repeats_another_is_counted(tmp_path):
    truth = read(tmp_path, "path,labels\na.jpg,cat\n./a.jpg,cat\na.jpg,cat;cat\n")

    (warning,) = truth.warnings
    assert (warning.code, warning.count) == ("truth_duplicates", 2)
    assert "line 3: 'a.jpg' repeats truth.csv, line 2" in warning.message
    assert len(truth.images) == 1


def test_a_truth_without_any_label_warns(tmp_path):
    truth = read(tmp_path, "path,labels\na.jpg,\nb.jpg,\n")

    assert [warning.code for warning in truth.warnings] == ["truth_no_positives"]


DEEP = "[" * 200_000
LONG = "a/" * 2048


def test_a_path_may_be_as_long_as_a_file_system_takes(tmp_path):
    (path,) = read(tmp_path, f"path,labels\n{LONG[:-1]}b,cat\n").images

    assert len(path) == 4096


@pytest.mark.parametrize(
    ("name", "content", "code", "said"),
    [
        ("t.csv", "", "truth_empty", "t.csv is empty"),
        ("t.csv", "path,labels\n", "truth_empty", "no image"),
        ("t.csv", "path,labels\na.jpg,cat\na.jpg,dog\n", "truth_conflict", "line 3: 'a.jpg'"),
        ("t.csv", "path,labels\na.jpg,cat,dog\n", "truth_malformed", "line 2 has 3 columns"),
        ("t.csv", "path,labels\na.jpg,caf\xe9\n".encode("latin-1"), "truth_encoding", "line 2: "),
        ("t.csv", "path,labels\na.jpg,cat\n".encode("utf-16"), "truth_format_unknown", "begins"),
        ("t.csv", 'path,labels\na.jpg,"cat\n', "truth_malformed", "line 2: unexpected end"),
        ("t.csv", "path,labels\n,cat\n", "truth_bad_path", "line 2: the path must be text, is ''"),
        ("t.csv", f"path,labels\n{LONG}b,cat\n", "truth_bad_path", "at most 4,096 characters, has"),
        ("t.csv", "path,labels\na.jpg,c\x07at\n", "truth_bad_name", "line 2: a class name"),
        ("t.csv", f"path,labels\na.jpg,{'c' * 201}\n", "truth_bad_name", "1 to 200 characters"),
        ("t.csv", "path;labels\na.jpg;cat\n", "truth_malformed", "has no path: 'path;labels'"),
        ("t.csv", "a.jpg,cat\n", "truth_malformed", "has no path: 'a.jpg,cat'"),
        ("t.csv", "path,path,labels\n", "truth_malformed", "the column 'path' twice"),
        ("t.csv", "path\na.jpg\n", "truth_malformed", "no column of a class"),
        ("t.csv", "path,cat\na.jpg,-1\n", "truth_malformed", "line 2, column 'cat': must be 1, 0"),
        ("t.csv", "path,cat\na.jpg,\n", "truth_malformed", "is ''"),
        ("t.csv", "path,labels,ignored\na.jpg,cat,cat\n", "truth_conflict", "both a label and"),
        ("t.jsonl", '{"path": "a"}\n', "truth_malformed", "line 1 has neither labels nor boxes"),
        ("t.jsonl", '{"path": "a", "labels": []}\n{', "truth_malformed", "line 2 is not JSON"),
        ("t.jsonl", '{"path": "a", "labels": []}\n' + DEEP, "truth_malformed", "too deeply"),
        ("t.jsonl", '{"path": "a", "labels": []}\n[1]', "truth_malformed", "line 2 must be an ob"),
        ("t.jsonl", '{"path": 7, "labels": []}', "truth_bad_path", "the path must be text, is 7"),
        ("t.jsonl", '{"path": "\\ud800", "labels": []}', "truth_bad_path", "must be text"),
        (
            "t.jsonl",
            '{"path": "a", "labels": "cat"}',
            "truth_malformed",
            "must be a list, is 'cat'",
        ),
        ("t.jsonl", '{"path": "a", "labels": [NaN]}', "truth_malformed", "not JSON"),
        ("t.jsonl", '{"path": "a", "labels": [null]}', "truth_bad_name", "is None"),
        (
            "t.jsonl",
            '{"path": "a", "boxes": [{"name": "cat", "xyxy": [0, 0, 1]}]}',
            "truth_malformed",
            "four numbers",
        ),
        (
            "t.jsonl",
            '{"path": "a", "boxes": [{"name": "cat", "xyxy": [5, 0, 5, 1]}]}',
            "truth_malformed",
            "has no area",
        ),
        (
            "t.jsonl",
            '{"path": "a", "labels": ["cat"], "boxes": [{"name": "dog", "xyxy": [0, 0, 5, 1]}]}',
            "truth_conflict",
            "a box of 'dog', not among its labels",
        ),
        ("t.json", "[1, 2]", "truth_format_unknown", "begins like no truth"),
        ("t.zip", b"PK\x03\x04rest", "truth_format_unknown", "begins like no truth"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path, name, content, code, said):
    with pytest.raises(TruthError) as caught:
        read(tmp_path, content, name=name)

    assert caught.value.code == code
    assert said in caught.value.message


def test_a_line_without_end_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("workers.truth.text.MAX_LINE_BYTES", 1000)

    with pytest.raises(TruthError, match="line 2 has more than 1,000 bytes"):
        read(tmp_path, "path,labels\n" + "a" * 2000)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"format": "xml"}, "truth_format_unknown"),
        ({"format": "voc"}, "truth_format_unknown"),
        ({"format": "csv", "split": "train"}, "truth_split_unknown"),
        ({"split": "train"}, "truth_split_unknown"),
        ({"format": "coco"}, "truth_malformed"),
    ],
)
def test_a_format_or_split_that_does_not_fit_is_refused(tmp_path, options, code):
    with pytest.raises(TruthError) as caught:
        read(tmp_path, "path,labels\na.jpg,cat\n", **options)

    assert caught.value.code == code


def test_what_is_not_there_is_no_truth(tmp_path):
    with pytest.raises(TruthError, match="there is no file or folder") as caught:
        read_truth(tmp_path / "none.csv")

    assert caught.value.code == "truth_not_found"
