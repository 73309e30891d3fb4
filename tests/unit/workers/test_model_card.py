"""The model card: what it says, and that no name in it is markup."""

import pytest

from workers import model_card
from workers.model_card import markdown, teacher_licence, text, with_thresholds

CARD = {
    "student": "resnet18",
    "parameters": 11_000_000,
    "preprocessing": {"side": 224},
    "classes": [
        {"name": "cat", "prompts": [], "bias": {"factor": 0.71, "images": 12}},
        {
            "name": "<b>|dog|*",
            "prompts": ["a {}", "the {}"],
            "bias": {"factor": 1.0, "images": 0},
        },
    ],
    "metrics": None,
    "metrics_note": model_card.NOT_MEASURED,
    "failure_modes": list(model_card.FAILURE_MODES),
    "config": {"alpha": 0.4, "templates": ["a photo of the {}"]},
    "data": {"images_digest": "abc", "accepted": 1200, "distinct": 1100, "formats": {"JPEG": 1200}},
    "teacher": {"name": "bundled:tiny", "digest": "def", "licence": "free"},
    "starts_from": "imagenet weights",
    "training": {"selected_epoch": 3},
    "warnings": [{"code": "never_top_1", "message": "no image has '<b>|dog|*' first"}],
    "code": {
        "version": "0.1.0",
        "fingerprint": {
            "method": 1,
            "torch": "2",
            "torchvision": "0",
            "machine": "x86_64",
            "device": "cpu",
            "threads": 2,
        },
    },
    "onnx": {
        "reason": None,
        "largest_difference": 2.4e-7,
        "images": 16,
        "batch_sizes": [1, 5, 16],
        "onnxruntime": "1.0",
    },
}


@pytest.fixture
def card():
    values = {"cat": 0.25, "<b>|dog|*": None}
    return with_thresholds(CARD, values, basis="pseudo_f1", version=1)


def rows(shown, heading):
    """The cells of the table under a heading."""
    part = shown.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_the_class_table_holds_threshold_and_bias(card):
    table = rows(markdown(card), "Classes")

    assert table[0] == ["class", "prompts", "threshold", "bias factor", "images behind it"]
    assert table[2] == ["cat", "", "0.25", "0.71", "12"]
    assert table[3][1:] == ["a {}; the {}", "never applies", "1", "0"]


def test_a_class_name_is_text_and_never_markup(card):
    shown = markdown(card)

    assert "<b>" not in shown
    assert r"&lt;b&gt;\|dog\|\*" in shown
    assert text("a_b [c](d) `e` \\ &\nf") == r"a\_b \[c\](d) \`e\` \\ &amp; f"


def test_without_truth_the_card_says_that_nothing_was_measured(card):
    assert model_card.NOT_MEASURED in markdown(card)


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
    other = with_thresholds(card, {"cat": None, "<b>|dog|*": 0.5}, basis="manual", version=2)

    assert [entry["threshold"] for entry in other["classes"]] == [None, 0.5]
    assert other["thresholds"] == {"version": 2, "basis": "manual", "meaning": "set by hand"}
    assert {**other, "classes": 0, "thresholds": 0} == {**card, "classes": 0, "thresholds": 0}
    assert "version 2: set by hand (`manual`)" in markdown(other)


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        ("bundled:tiny", "comes with this service"),
        ("offline:lite0-minilm", "Apache-2.0"),
        ("ViT-B-16/openai", "MIT"),
        ("hf-hub:someone/model", "not known"),
        ("ViT-B-32/laion2b_s34b_b79k", "not known"),
    ],
)
def test_a_teachers_licence_is_told_as_far_as_it_is_known(teacher, said):
    assert said in teacher_licence(teacher)
