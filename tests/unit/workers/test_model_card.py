"""The model card: what it says, and that no name in it is markup."""

import pytest

from tests.cards import card_of
from workers import model_card
from workers.model_card import markdown, teacher_licence, text, with_thresholds

DOG = "<b>|dog|*"
WARNING = {"code": "never_top_1", "message": f"no image has {DOG!r} first"}
CARD = card_of("cat", DOG, warnings=[WARNING])
CARD["classes"][1] |= {"prompts": ["a {}", "the {}"], "bias": {"factor": 1.0, "images": 0}}


@pytest.fixture
def card():
    values = {"cat": 0.25, DOG: None}
    return with_thresholds(CARD, values, basis="pseudo_f1", version=1)


def rows(shown, heading):
    """The cells of the table under a heading."""
    part = shown.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_the_class_table_holds_threshold_and_bias(card):
    table = rows(markdown(card), "Classes")

    assert table[0] == ["class", "prompts", "threshold", "bias factor", "images behind it"]
    assert table[2] == ["cat", "", "0.25", "0.5", "12"]
    assert table[3][1:] == ["a {}; the {}", "never applies", "1", "0"]


def test_a_class_name_is_text_and_never_markup(card):
    shown = markdown(card)

    assert "<b>" not in shown
    assert r"&lt;b&gt;\|dog\|\*" in shown
    assert text("a_b [c](d) `e` \\ &\nf") == r"a\_b \[c\](d) \`e\` \\ &amp; f"


def test_without_truth_the_card_says_that_nothing_was_measured(card):
    assert model_card.NOT_MEASURED in markdown(card)


def test_what_was_measured_is_a_table(card):
    values = {"cat": 0.1, DOG: 0.2}
    measured = with_thresholds(
        card, values, basis="tuned", version=2, metrics={"mAP": 0.71234567, "CF1": 0.5}
    )

    assert rows(markdown(measured), "Quality")[2:] == [["mAP", "0.712346"], ["CF1", "0.5"]]
    assert measured["metrics_note"] is None


def test_failure_modes_and_the_jobs_own_warnings_are_listed(card):
    shown = markdown(card)

    assert all(f"- {mode}" in shown for mode in model_card.FAILURE_MODES)
    assert r"- no image has '&lt;b&gt;\|dog\|\*' first" in shown
    assert "None." in markdown({**card, "warnings": []})


def test_the_onnx_check_is_written_down(card):
    assert "within 2.4e-07" in markdown(card)
    assert "in batches of 1, 5, 16" in markdown(card)

    shown = markdown({**card, "onnx": {"reason": "gelu cannot be said"}})

    assert "There is none: gelu cannot be said." in shown


def test_other_thresholds_change_the_table_and_its_basis_alone(card):
    other = with_thresholds(card, {"cat": None, DOG: 0.5}, basis="manual", version=2)

    assert [entry["threshold"] for entry in other["classes"]] == [None, 0.5]
    assert other["thresholds"] == {"version": 2, "basis": "manual", "meaning": "set by hand"}
    changed = {name for name in card if other[name] != card[name]}
    assert changed == {"classes", "thresholds", "metrics_note"}
    assert "version 2: set by hand (`manual`)" in markdown(other)


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        ("bundled:tiny", "comes with this service"),
        ("offline:lite0-minilm", "Apache-2.0"),
        ("ViT-B-16/openai", "MIT"),
        ("hf-hub:someone/model", "not known"),
        ("hf-hub:someone/openai", "not known"),
        ("local-dir:/models/openai", "not known"),
        ("ViT-B-32/laion2b_s34b_b79k", "not known"),
    ],
)
def test_a_teachers_licence_is_told_as_far_as_it_is_known(teacher, said):
    assert said in teacher_licence(teacher)


def test_settings_are_shown_as_json_has_them(card):
    config = {"background": False, "view_size": None, "templates": ["a photo of {}"]}

    assert rows(markdown({**card, "config": config}), "Settings")[2:] == [
        [r"background", "false"],
        [r"view\_size", "null"],
        [r"templates", r'\["a photo of {}"\]'],
    ]
