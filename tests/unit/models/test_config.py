"""Settings are checked, named when they are wrong, and survive JSON."""

import json
import math
import subprocess
import sys
from dataclasses import fields, replace

import pytest

from models.config import DEFAULT_PRESET, PRESETS, RULES, ConfigError, DistillConfig, resolve

PAPER = PRESETS["paper"]


def refusal(**changes: object) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        replace(PAPER, **changes)
    return caught.value


def test_a_refused_value_is_named_with_its_field_and_what_is_allowed():
    error = refusal(alpha=1.4)

    assert str(error) == "alpha must lie in [0, 1], is 1.4"
    assert (error.field, error.value, error.allowed) == ("alpha", 1.4, "lie in [0, 1]")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, True, "0.4", None, [0.4], -0.01])
def test_alpha_is_a_finite_number_between_0_and_1(value):
    assert refusal(alpha=value).field == "alpha"


@pytest.mark.parametrize("value", [0, 1, 2.0, True, None, "3", 10**30])
@pytest.mark.parametrize("field", ["batch_size", "warm_up_epochs", "train_epochs"])
def test_a_count_is_a_whole_number(field, value):
    if value == 1 and value is not True:
        assert getattr(replace(PAPER, **{field: value}), field) == 1
    else:
        assert refusal(**{field: value}).field == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("teacher", ""),
        ("teacher", "RN50x64\n"),
        ("teacher", 5),
        ("view_size", 16),
        ("view_size", True),
        ("normalisation", "clip"),
        ("logit_scale", 0),
        ("logit_scale", math.nan),
        ("templates", ()),
        ("templates", "a photo of the {}"),
        ("templates", ("a photo",)),
        ("templates", ("{} and {}",)),
        ("templates", ("{}" + "x" * 199,)),
        ("templates", (5,)),
        ("background", 1),
        ("background", None),
        ("min_names", 41),
        ("entropy_cut", 0),
        ("entropy_relative", "yes"),
        ("floor_classes", 0),
        ("student", "resnet152"),
        ("student", ["resnet18"]),
        ("student_weights", ""),
        ("student_size", 4096),
        ("student_stride", 12),
        ("student_stride", 8.0),
        ("boost", 0),
        ("cam_size", None),
        ("cam_threshold", 1),
        ("box_margin", 0.6),
        ("classes_per_image", 0),
        ("backbone_lr", -1e-5),
        ("head_lr", 0),
        ("weight_decay", -1),
        ("lr_schedule", "linear"),
        ("ema_decay", 1),
        ("consistency_weight", -1),
        ("jitter", 0.6),
        ("precision", "fp8"),
        ("teacher_batch", 0),
        ("seed", -1),
        ("seed", 2**63),
    ],
)
def test_a_value_outside_its_range_is_refused(field, value):
    assert refusal(**{field: value}).field == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("view_size", None),
        ("logit_scale", None),
        ("student_stride", None),
        ("student_stride", 8),
        ("alpha", 0),
        ("alpha", 1),
        ("backbone_lr", 0),
        ("ema_decay", 0.999),
        ("jitter", 0),
        ("seed", 2**63 - 1),
        ("student_weights", "/weights/resnet18.pth"),
    ],
)
def test_the_ends_of_the_ranges_are_allowed(field, value):
    assert getattr(replace(PAPER, **{field: value}), field) == value


def test_the_message_about_an_optional_field_says_that_null_is_allowed():
    assert str(refusal(view_size=0)) == (
        "view_size must be null or a whole number in [32, 2048], is 0"
    )


def test_a_long_value_is_shortened_in_the_message():
    assert len(str(refusal(teacher="x" * 5000))) < 200


def test_a_relative_entropy_cut_is_at_most_the_whole_entropy():
    assert refusal(entropy_relative=True, entropy_cut=1.5).field == "entropy_cut"
    assert replace(PAPER, entropy_relative=True, entropy_cut=1.0).max_entropy(7) == math.log(7)


def test_a_cut_in_nats_is_the_same_for_any_number_of_names():
    assert PAPER.max_entropy(3) == PAPER.max_entropy(80) == 2.0


def test_the_relative_cut_of_the_presets_is_the_papers_at_20_names():
    assert PRESETS["balanced"].max_entropy(20) == pytest.approx(2.0)


def test_the_floor_is_one_over_the_classes_but_never_over_fewer_than_20():
    assert PAPER.floor(3) == PAPER.floor(20) == 1 / 20
    assert PAPER.floor(80) == 1 / 80


def test_every_field_has_a_rule_and_every_rule_a_field():
    assert list(RULES) == [field.name for field in fields(DistillConfig)]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_survives_json(preset):
    written = json.loads(json.dumps(PRESETS[preset].to_dict(), allow_nan=False))

    assert resolve("tiny", written) == PRESETS[preset]


def test_a_whole_number_for_a_real_setting_is_the_same_setting():
    as_int, as_float = resolve("paper", {"alpha": 1}), resolve("paper", {"alpha": 1.0})

    assert json.dumps(as_int.to_dict()) == json.dumps(as_float.to_dict())


def test_a_list_of_templates_becomes_a_tuple():
    assert resolve("tiny", {"templates": ["the {}"]}).templates == ("the {}",)


def test_an_override_leaves_the_preset_alone():
    assert resolve("paper", {"alpha": 0.1}).alpha == 0.1
    assert PAPER.alpha == 0.4


def test_an_unknown_setting_is_refused_with_the_nearest_known_one():
    with pytest.raises(ConfigError) as caught:
        resolve("paper", {"batchsize": 8})

    assert caught.value.field == "batchsize"
    assert str(caught.value) == "'batchsize' is not a setting; did you mean batch_size?"


def test_an_unknown_preset_is_refused_with_the_nearest_known_one():
    with pytest.raises(ConfigError, match=r"did you mean balanced\?") as caught:
        resolve("ballanced", {})

    assert caught.value.field == "preset"
    assert "be one of paper, released" in caught.value.allowed


def test_the_default_preset_exists():
    assert DEFAULT_PRESET in PRESETS


@pytest.mark.parametrize(
    ("preset", "row"),
    [
        ("paper", ("RN50x64/openai", "resnet101", 448, 2, 8, 0.4, False)),
        ("released", ("RN50x64/openai", "resnet50", 448, 2, 8, 0.2, False)),
        ("balanced", ("ViT-L-14-336/openai", "resnet50", 448, 2, 8, 0.4, True)),
        ("fast", ("ViT-B-16/openai", "resnet18", 224, 2, 6, 0.4, True)),
        ("offline", ("offline:lite0-minilm", "tf_efficientnet_lite0", 224, 2, 4, 0.6, True)),
        ("tiny", ("bundled:tiny", "teacher-tower", 112, 2, 4, 0.4, False)),
    ],
)
def test_a_preset_is_what_its_row_in_the_documentation_says(preset, row):
    c = PRESETS[preset]
    epochs = (c.warm_up_epochs, c.train_epochs)

    assert (c.teacher, c.student, c.student_size, *epochs, c.alpha, c.background) == row
    assert c.epochs == sum(epochs)


def test_the_released_script_differs_from_the_paper_in_four_settings():
    paper, released = PAPER.to_dict(), PRESETS["released"].to_dict()

    assert {name for name in paper if paper[name] != released[name]} == {
        "normalisation",
        "logit_scale",
        "alpha",
        "student",
    }


def test_reading_the_settings_loads_no_torch():
    code = "import sys, models.config; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
