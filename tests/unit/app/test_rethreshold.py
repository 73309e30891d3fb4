"""What a request for other thresholds may say about classes."""

from types import SimpleNamespace

import pytest

from app.errors import Problem
from app.rethreshold import wanted_thresholds
from app.student_schemas import ThresholdsUpdate


def wanted(given, names):
    classes = [{"name": name} for name in names]
    facts = {"class_order": list(range(len(names)))}
    job = SimpleNamespace(id="job_1", request={"classes": classes}, facts=facts)
    return wanted_thresholds(ThresholdsUpdate(thresholds=given), job, services=None).values


def test_a_name_is_the_same_however_it_is_composed():
    assert wanted({"cafe\u0301 ": 0.5}, ["caf\u00e9"]) == {"caf\u00e9": 0.5}


def test_the_ends_of_the_range_are_in_it_and_integers_are_numbers():
    assert wanted({"cat": 0, "dog": 1, "eel": None}, ["cat", "dog", "eel"]) == {
        "cat": 0.0,
        "dog": 1.0,
        "eel": None,
    }


def test_an_unknown_class_is_answered_with_the_nearest_ones():
    with pytest.raises(Problem, match="the nearest are 'traffic light', 'traffic sign'"):
        wanted({"trafic light": 0.5}, ["bus", "traffic light", "dog", "traffic sign"])


def test_every_wrong_class_is_told_at_once():
    with pytest.raises(Problem) as caught:
        wanted({"cta": 0.5, "fish": None}, ["cat", "dog"])

    assert [error.pointer for error in caught.value.errors] == [
        *("/thresholds/cta", "/thresholds/fish", "/thresholds")
    ]


def test_of_many_missing_classes_some_are_named():
    names = [f"class {i}" for i in range(40)]

    with pytest.raises(Problem, match="'class 4' and 35 more"):
        wanted({}, names)
