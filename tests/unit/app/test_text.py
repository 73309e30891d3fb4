"""Names: what they may hold and when two are one; cursors and CSV cells."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from app.classes import Classes, read_classes
from app.errors import Problem, pointer_of, shown
from app.replies import read_position, write_position
from app.text import bad_character, near_names, plain, same_key
from workers.label_rows import escaped_name, rounded, safe_cell

LIST = TypeAdapter(Classes)


@pytest.mark.parametrize(
    "text",
    [
        "caf\u00e9",
        "犬",
        "👩\u200d🚒",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "a b",
        "=1",
    ],
)
def test_ordinary_text_of_any_script_is_taken(text):
    assert bad_character(text) is None


@pytest.mark.parametrize("text", ["\0", "\x7f", "\u202e", "\u200b", "\u2028", "\ud800", "\ufeff"])
def test_what_nobody_can_see_is_refused_by_number(text):
    assert f"U+{ord(text):04X} at position 1" in bad_character(f"a{text}")


@given(st.text())
def test_the_plain_form_is_its_own_plain_form(text):
    assert plain(plain(text)) == plain(text)


@given(st.text())
def test_a_name_is_the_same_class_in_any_normal_form(text):
    assert same_key(plain(text)) == same_key(plain(plain(text)))


@pytest.mark.parametrize(
    ("one", "other"), [("Dog", "dOG"), ("\u00c9", "e\u0301"), ("\u00df", "SS"), ("\u017f", "S")]
)
def test_names_that_differ_in_case_or_form_are_one_class(one, other):
    assert same_key(one) == same_key(other)


def test_all_wrong_classes_are_told_at_once():
    with pytest.raises(ValidationError) as caught:
        LIST.validate_python(["ok", "", {"name": "b", "x": 1}, "OK", 5])

    assert [pointer_of(error["loc"]) for error in caught.value.errors()] == [
        "/1",
        "/2/x",
        "/4",
        "/3",
    ]


def test_a_thousand_classes_are_taken():
    assert len(read_classes([f"class {i}" for i in range(1000)])) == 1000


def test_a_wrong_name_is_answered_with_the_nearest_or_with_some():
    names = ["bus", "Zebra", "dog", "eel"]

    assert near_names("ZEBAR", names) == "the nearest are 'Zebra'"
    assert near_names("quokka", names) == "some of its classes are 'bus', 'Zebra', 'dog'"
    assert near_names("quokka", names[:2]) == "its classes are 'bus', 'Zebra'"


@given(st.integers(0, 10**17))
def test_a_cursor_leads_back_to_its_position(position):
    assert read_position(write_position(position)) == position


@given(st.text(max_size=30).filter(lambda text: not text.startswith("YXQ6")))
def test_any_other_cursor_is_refused(text):
    with pytest.raises(Problem, match="/query/cursor"):
        read_position(text)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1"])
def test_a_cell_that_would_run_gets_an_apostrophe(text):
    assert safe_cell(text) == f"'{text}"


@given(st.text())
def test_a_cell_never_begins_like_a_formula(text):
    assert not safe_cell(text).startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert safe_cell(text).endswith(text)


@given(st.lists(st.text(";\\ab", min_size=1), max_size=4))
def test_names_joined_by_semicolons_can_be_told_apart(names):
    joined = ";".join(map(escaped_name, names))

    (row,) = (
        csv.reader(io.StringIO(joined), delimiter=";", escapechar="\\", quoting=csv.QUOTE_NONE)
        if joined
        else ([],)
    )

    assert row == names


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (1 / 3, "0.333333"),
        (0.1 + 2e-9, "0.1"),
        (1.0, "1.0"),
        (0.0, "0.0"),
        (1.234567891e-9, "1.23457e-09"),
    ],
)
def test_scores_have_six_significant_digits(score, text):
    assert str(rounded(score)) == text


@given(st.one_of(st.text(), st.floats(), st.binary(), st.lists(st.text())))
def test_a_wrong_value_is_shown_short_and_printable(value):
    assert len(shown(value)) <= 80
    shown(value).encode()
