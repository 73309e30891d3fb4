"""Each rule about the figures of a job: what it finds, and what it leaves alone."""

import json
from dataclasses import fields, replace

import pytest

from models.health import LIMITS, RULES, Severity, findings
from models.vitals import NamePair, Pair, Vitals

#: A job about which there is nothing to say.
CLEAN = Vitals(
    names=("cat", "dog", "bus"),
    num_images=1000,
    low_entropy=0.9,
    max_entropy=2.0,
    background_share=0.15,
    unseen_share=0.2,
    sure=0.7,
    agreement=0.9,
    labels_per_image=[50, 700, 250, *[0] * 8],
    bias_factors=[0.7, 0.8, 0.6],
    bias_images=[200, 300, 100],
    first_shares=[0.4, 0.35, 0.15],
    sightings=[300, 350, 250],
    positives=[300, 400, 200],
    fired=[320, 380, 250],
    thresholds=[0.4, 0.5, 0.3],
    class_agreement=[0.9, 0.8, 0.85],
    histograms=[[1000, *[0] * 19]] * 3,
    pairs=[Pair(0, 1, 0.2, 120, 0.1)],
    name_pairs=[NamePair(0, 1, 0.7, 1.0)],
)


def found(**changes):
    return findings(replace(CLEAN, **changes))


def the_one(**changes):
    (finding,) = found(**changes)
    return finding


def test_a_clean_job_has_no_findings():
    assert found() == []


@pytest.mark.parametrize("distance", [0, 0.34])
def test_two_names_that_mean_the_same_are_named(distance):
    finding = the_one(name_pairs=[NamePair(0, 1, distance, 1.0), NamePair(0, 2, 0.36, 1.0)])

    assert (finding.code, finding.severity) == ("names_coincide", Severity.WARNING)
    assert finding.classes == ("cat", "dog")
    assert f"{distance:.2f}" in finding.message


def test_identical_names_are_named_where_there_are_no_others():
    assert the_one(name_pairs=[NamePair(0, 1, 1e-4, 1e-4)]).code == "names_coincide"


def test_two_different_names_alone_are_left_alone():
    assert found(name_pairs=[NamePair(0, 1, 0.8, 0.8)]) == []


def test_two_classes_in_one_place_are_named_with_their_figures():
    finding = the_one(pairs=[Pair(0, 2, 0.9, 16, 0.43)])

    assert (finding.code, finding.severity) == ("one_region_two_classes", Severity.WARNING)
    assert finding.classes == ("cat", "bus")
    assert all(figure in finding.message for figure in ("90 %", "16 images", "0.43"))


@pytest.mark.parametrize("region", [0.1, None])
def test_two_classes_in_two_places_are_only_noted(region):
    finding = the_one(pairs=[Pair(0, 2, 0.9, 16, region)])

    assert (finding.code, finding.severity) == ("found_together", Severity.NOTE)


@pytest.mark.parametrize("pair", [Pair(0, 2, 0.59, 160, 0.9), Pair(0, 2, 1.0, 9, 0.9)])
def test_pairs_that_meet_seldom_are_left_alone(pair):
    assert found(pairs=[pair]) == []


def test_what_follows_from_equal_names_is_not_told_again():
    finding = the_one(
        name_pairs=[NamePair(0, 1, 0.0, 1.0)],
        pairs=[Pair(0, 1, 1.0, 300, 0.9)],
        sightings=[0, 0, 250],
    )

    assert finding.code == "names_coincide"


def test_classes_that_never_fire_are_one_finding():
    finding = the_one(fired=[0, 380, 0], sightings=[0, 350, 0])

    assert (finding.code, finding.severity) == ("never_fires", Severity.WARNING)
    assert finding.classes == ("cat", "bus")
    assert "'cat' or 'bus'" in finding.message


def test_a_class_on_nearly_every_image_is_named():
    finding = the_one(fired=[900, 380, 250])

    assert (finding.code, finding.classes) == ("always_fires", ("cat",))
    assert "90 %" in finding.message
    assert found(fired=[899, 380, 250]) == []


def test_a_class_that_fires_but_is_never_seen_for_sure_is_named():
    finding = the_one(sightings=[4, 350, 250])

    assert (finding.code, finding.classes) == ("hardly_seen", ("cat",))
    assert all(figure in finding.message for figure in ("320", "4 of 1,000"))
    assert found(sightings=[5, 350, 250]) == []
    assert found(sightings=[4, 350, 250], fired=[40, 380, 250]) == []  # a tenth of them


def test_in_large_sets_a_class_must_be_seen_in_a_thousandth_of_the_images():
    sightings = [19, 3500, 2500]

    assert the_one(num_images=20_000, sightings=sightings).code == "hardly_seen"


@pytest.mark.parametrize(
    ("num_names", "share", "is_told"),
    [(3, 0.99, False), (8, 0.49, False), (8, 0.5, True), (20, 0.24, False), (20, 0.25, True)],
)
def test_a_class_is_over_predicted_if_it_comes_first_far_more_often_than_its_share(
    num_names, share, is_told
):
    changes = dict.fromkeys(
        ("bias_images", "sightings", "positives", "fired"), [300] * num_names
    ) | dict.fromkeys(("class_agreement", "bias_factors", "thresholds"), [0.7] * num_names)
    names = tuple(f"n{i}" for i in range(num_names))
    shares = [share, *[0.0] * (num_names - 1)]

    told = found(names=names, first_shares=shares, **changes)

    assert [finding.code for finding in told] == ["over_predicted"] * is_told
    assert all(finding.classes == ("n0",) for finding in told)


def test_many_images_of_none_of_the_classes_are_told_with_their_shares():
    finding = the_one(background_share=0.22, unseen_share=0.27)

    assert (finding.code, finding.severity) == ("none_of_the_classes", Severity.WARNING)
    assert "22 %" in finding.message
    assert "27 %" in finding.message


@pytest.mark.parametrize(("background", "unseen"), [(0.9, 0.21), (0.17, 0.9)])
def test_one_sign_of_none_of_the_classes_is_not_enough(background, unseen):
    assert found(background_share=background, unseen_share=unseen) == []


@pytest.mark.parametrize(("background", "unseen"), [(0.18, None), (None, 0.22)])
def test_a_sign_that_is_not_known_is_not_waited_for(background, unseen):
    finding = the_one(background_share=background, unseen_share=unseen)

    assert finding.code == "none_of_the_classes"


def test_what_cannot_be_known_is_said_and_is_no_warning():
    finding = the_one(background_share=None, unseen_share=None)

    assert (finding.code, finding.severity) == ("none_unknown", Severity.NOTE)


def test_a_teacher_that_is_seldom_sure_is_told():
    assert the_one(low_entropy=0.2).code == "teacher_unsure"


def test_a_student_that_does_not_follow_is_told():
    assert the_one(agreement=0.59).code == "student_disagrees"
    assert found(agreement=None) == []


def test_a_class_that_the_student_did_not_take_over_is_noted():
    finding = the_one(class_agreement=[0.9, 0.49, None])

    assert (finding.code, finding.severity) == ("class_disagrees", Severity.NOTE)
    assert finding.classes == ("dog",)


def test_a_set_that_is_mostly_without_labels_is_told():
    assert the_one(labels_per_image=[500, 500, *[0] * 9]).code == "unlabelled"


def test_a_bias_of_few_images_is_noted_and_one_of_none_is_told_elsewhere():
    finding = the_one(bias_images=[4, 300, 0])

    assert (finding.code, finding.severity) == ("thin_bias", Severity.NOTE)
    assert finding.classes == ("cat",)


def test_warnings_come_first():
    severities = [
        f.severity for f in found(bias_images=[4, 300, 2], background_share=0.5, unseen_share=0.5)
    ]

    assert severities == [Severity.WARNING, Severity.NOTE]


def test_a_sentence_lists_a_few_names_and_the_finding_all():
    names = tuple(f"n{i}" for i in range(9))
    silent = replace(
        CLEAN,
        names=names,
        fired=[0] * 9,
        bias_images=[9] * 9,
        first_shares=[0.1] * 9,
        sightings=[9] * 9,
        class_agreement=[None] * 9,
    )

    (finding,) = findings(silent)

    assert finding.classes == names
    assert "'n0', 'n1', 'n2', 'n3', 'n4', 'n5' or 3 more" in finding.message


@pytest.mark.parametrize("limit", [field.name for field in fields(LIMITS)])
def test_every_limit_is_used(limit):
    class Asked:
        def __init__(self):
            self.names = set()

        def __getattr__(self, name):
            self.names.add(name)
            return getattr(LIMITS, name)

    limits = Asked()
    told = replace(
        CLEAN, pairs=[Pair(0, 2, 0.9, 16, 0.4)], sightings=[0, 0, 0], background_share=0.9
    )

    for rule in RULES:
        list(rule(told, limits))

    assert limit in limits.names


def test_findings_are_json_with_a_sentence_and_an_advice():
    for finding in found(
        fired=[0, 1000, 0], unseen_share=None, background_share=0.5, sightings=[0, 0, 0]
    ):
        told = json.loads(json.dumps(finding.to_dict()))
        assert told["severity"] in {"warning", "note"}
        assert told["message"]
        assert told["advice"].endswith(".")
