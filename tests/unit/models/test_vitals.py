"""Figures about labels that nobody has checked."""

import math
from dataclasses import replace

import pytest
import torch

from models.debias import Bias
from models.evidence import Evidence, Views, WholeViews
from models.vitals import (
    HISTOGRAM_BINS,
    MOST_LABELS,
    agreement,
    closest_names,
    closest_pairs,
    first_shares,
    histograms,
    labels_per_image,
    looks_like_none,
    take_vitals,
    together,
    unseen,
    usual_certainty,
)

NO_VIEWS = Views(
    torch.zeros(0, 4, dtype=torch.int32), torch.zeros(0, dtype=torch.int32), torch.zeros(5).long()
)
PROBS = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.5, 0.5], [0.6, 0.4]])
EVIDENCE = Evidence(
    names=["cat", "dog"],
    text=torch.eye(2),
    whole=WholeViews(torch.tensor([0.1, 0.2, 0.7, 0.6]), torch.tensor([0, 1, 0, 0]), None),
    max_entropy=0.65,
    bias=Bias(torch.tensor([0.75, 0.8]), torch.tensor([2, 1])),
    global_probs=PROBS,
    local_probs=torch.tensor([[0.1, 0.1], [0.1, 0.1], [0.1, 0.9], [0.0, 0.0]]),
    pseudo=torch.tensor([[1.0, 0.2], [0.1, 1.0], [0.5, 0.7], [0.4, 0.1]]),
    scores=torch.tensor([[0.9, 0.0], [0.1, 0.3], [0.8, 0.2], [0.6, 1.0]]),
    thresholds=torch.tensor([0.6, math.nan]),
)


def text_of(num_names):
    return torch.eye(num_names)


def test_the_figures_of_four_images_by_hand():
    vitals = take_vitals(EVIDENCE, lambda: [NO_VIEWS])

    assert vitals.num_images == 4
    assert vitals.low_entropy == 0.75  # all but 0.7
    assert vitals.unseen_share is None  # two names
    assert vitals.background_share is None  # and no other was asked about
    assert vitals.first_shares == [0.75, 0.25]
    assert vitals.sure == pytest.approx(0.75)  # the lower of two medians
    assert vitals.sightings == [1, 2]  # 0.9 for cat; 0.8 and, in a crop, 0.9 for dog
    assert vitals.positives == [2, 2]
    assert vitals.fired == [3, 0]  # dog has no threshold
    assert vitals.labels_per_image[:2] == [1, 3]
    assert vitals.thresholds == [pytest.approx(0.6), None]
    # Cat fires on images 0, 2, 3 and was taught by 0, 2: 2 * 2 / (3 + 2).
    assert vitals.agreement == pytest.approx(0.8)
    assert vitals.class_agreement == [pytest.approx(0.8), None]
    assert vitals.pairs == []


def test_figures_do_not_depend_on_how_the_views_are_sharded():
    views = Views(
        boxes=torch.tensor([[0, 0, 4, 4], [2, 0, 6, 4], [0, 0, 9, 9], [0, 0, 9, 9]]),
        classes=torch.tensor([0, 1, 0, 1]),
        offsets=torch.tensor([0, 2, 2, 4]),
    )
    shards = [
        Views(views.boxes[:2], views.classes[:2], torch.tensor([0, 2, 2])),
        Views(views.boxes[2:], views.classes[2:], torch.tensor([0, 2])),
    ]
    fired = torch.ones(3, 2, dtype=torch.bool)

    (whole,), (sharded,) = closest_pairs(fired, [views]), closest_pairs(fired, shards)

    assert whole == sharded
    assert whole.region == pytest.approx((8 / 24 + 1) / 2)  # the second image has no views


def test_two_classes_share_no_region_where_neither_has_views():
    fired = torch.ones(4, 2, dtype=torch.bool)

    (pair,) = closest_pairs(fired, [NO_VIEWS])

    assert (pair.overlap, pair.images, pair.region) == (1, 4, None)


@pytest.mark.parametrize(("prob", "is_unseen"), [(0.7, True), (0.75, False), (0.9, False)])
def test_an_image_is_unseen_if_the_teacher_is_sure_of_nothing_in_any_view(prob, is_unseen):
    evidence = replace(
        EVIDENCE,
        text=text_of(20),
        global_probs=torch.tensor([[0.1, 0.1]]),
        local_probs=torch.tensor([[prob, 0.2]]),
    )

    assert unseen(evidence, 0.75).tolist() == [is_unseen]


def test_with_few_names_a_crop_tells_nothing():
    assert unseen(EVIDENCE, 0.75) is None


def test_an_image_looks_like_none_by_all_signs_that_are_known():
    background = replace(EVIDENCE.whole, is_background=torch.tensor([False, True, True, True]))
    of_two_names = replace(EVIDENCE, whole=background)
    of_many_names = replace(of_two_names, text=text_of(20))

    assert looks_like_none(EVIDENCE) is None
    assert looks_like_none(of_two_names).tolist() == [False, True, True, True]
    # The teacher is sure from 0.75 on: 0.9, 0.8, then 0.9 in a crop, and only 0.6.
    assert looks_like_none(of_many_names).tolist() == [False, False, False, True]


def test_classes_that_were_never_sure_do_not_count_for_the_usual_certainty():
    bias = Bias(torch.tensor([1.0, 0.6, 1.0]), torch.tensor([0, 4, 0]))

    assert usual_certainty(replace(EVIDENCE, bias=bias)) == pytest.approx(0.6)


def test_without_any_sure_class_only_certainty_itself_is_sure():
    bias = Bias(torch.ones(2), torch.zeros(2).long())

    assert usual_certainty(replace(EVIDENCE, bias=bias)) == 1


def test_every_score_falls_into_one_bar():
    scores = torch.tensor([[0.0, 0.5], [0.049, 0.999], [1.0, 1.0]])

    bars = histograms(scores)

    assert bars[0].tolist() == [2, *[0] * 18, 1]
    assert bars[1].tolist() == [*[0] * 10, 1, *[0] * 8, 2]
    assert histograms(torch.rand(500, 3)).sum(dim=1).tolist() == [500] * 3
    assert bars.shape == (2, HISTOGRAM_BINS)


def test_many_labels_count_as_the_most():
    fired = torch.zeros(3, 30, dtype=torch.bool)
    fired[1, :1], fired[2, :25] = True, True

    assert labels_per_image(fired).tolist() == [1, 1, *[0] * (MOST_LABELS - 2), 1]


def test_a_background_name_that_comes_first_is_no_class():
    whole = WholeViews(torch.zeros(4), torch.tensor([0, 5, 5, 1]), None)

    assert first_shares(whole, 2).tolist() == [0.25, 0.25]


def test_a_student_that_repeats_its_labels_agrees():
    labels = torch.tensor([[True, False], [False, True]])

    overall, by_class = agreement(labels, labels, torch.zeros(2))

    assert overall == 1
    assert by_class.tolist() == [1, 1]


def test_classes_without_a_threshold_cannot_disagree():
    fired = torch.tensor([[True, False], [False, False]])
    positive = torch.tensor([[True, True], [False, True]])

    overall, by_class = agreement(fired, positive, torch.tensor([0.5, math.nan]))

    assert overall == 1
    assert by_class[0] == 1
    assert by_class[1].isnan()


def test_classes_fire_together_on_the_images_with_both_of_those_with_either():
    fired = torch.tensor([[1, 1, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]).bool()

    overlap, images = together(fired)

    assert overlap[0, 1].item() == pytest.approx(2 / 4)
    assert images[0, 1].item() == 2
    assert overlap[0, 2].item() == 0
    assert torch.equal(overlap, overlap.T)


def test_pairs_that_never_meet_are_left_out():
    assert closest_pairs(torch.eye(4).bool(), [NO_VIEWS]) == []


def test_names_are_compared_with_what_is_usual_among_all_names():
    text = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.0, -1.0]])

    nearest = closest_names(text, 3)[0]

    # Distances: 0-1 sqrt(0.4), 1-2 sqrt(0.8), 0-2 and 0-3 sqrt(2), 1-3 sqrt(3.2), 2-3 2. The
    # median of six is the third.
    assert (nearest.a, nearest.b) == (0, 1)
    assert nearest.distance == pytest.approx(math.sqrt(0.4))
    assert nearest.usual == pytest.approx(math.sqrt(2))


def test_equal_names_are_at_no_distance_among_many():
    text = torch.nn.functional.normalize(
        torch.randn(60, 64, generator=torch.Generator().manual_seed(0)), dim=1
    )
    text[41] = text[7]

    nearest = closest_names(text, 60)[0]

    assert (nearest.a, nearest.b, nearest.distance) == (7, 41, 0)


def test_one_class_has_no_pairs():
    one = replace(
        EVIDENCE,
        names=["cat"],
        text=text_of(1),
        whole=WholeViews(torch.zeros(4), torch.zeros(4).long(), None),
        bias=Bias(torch.ones(1), torch.zeros(1).long()),
        global_probs=PROBS[:, :1],
        local_probs=PROBS[:, :1],
        pseudo=PROBS[:, :1],
        scores=PROBS[:, :1],
        thresholds=torch.tensor([0.5]),
    )

    vitals = take_vitals(one, lambda: [NO_VIEWS])

    assert vitals.pairs == vitals.name_pairs == []
