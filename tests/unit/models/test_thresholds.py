"""The score threshold of a class is where F1 against its own labels is best."""

import math

import pytest
import torch
from torch import Tensor

from models.thresholds import apply_thresholds, best_f1_thresholds


def random_scores(seed: int, *, decimals: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(120, 5, generator=generator)
    targets = torch.rand(120, 5, generator=generator) < scores**2
    return scores.round(decimals=decimals), targets


def column(*values: float | bool) -> Tensor:
    return torch.tensor(values)[:, None]


def f1(fired: Tensor, targets: Tensor) -> float:
    return 2 * (fired & targets).sum().item() / (fired.sum() + targets.sum()).item()


def test_the_best_threshold_by_hand():
    scores = column(0.9, 0.8, 0.7, 0.6, 0.5)
    targets = column(True, True, False, True, False)

    # F1 at each score: 2/4, 4/5, 4/6, 6/7, 6/8. Halfway between 0.6 and 0.5.
    assert best_f1_thresholds(scores, targets, 1).tolist() == pytest.approx([0.55])


def test_equal_scores_fire_together():
    scores = column(0.9, 0.5, 0.5, 0.5, 0.5)
    targets = column(True, True, False, False, False)

    # At 0.9: 2/3. At 0.5 all five fire: 4/7. Taking only the hit among the ties would give 1.
    assert best_f1_thresholds(scores, targets, 1).tolist() == pytest.approx([0.7])


def test_of_equally_good_thresholds_the_highest_is_taken():
    # F1 at 0.9: 2/3; at 0.8: 2/4; at 0.7: 2/5; at 0.6: 4/6.
    scores, targets = column(0.9, 0.8, 0.7, 0.6), column(True, False, False, True)

    assert best_f1_thresholds(scores, targets, 1).tolist() == pytest.approx([0.85])


def test_where_all_images_fire_the_threshold_is_the_lowest_score():
    scores, targets = column(0.9, 0.6), column(True, True)

    assert best_f1_thresholds(scores, targets, 1).tolist() == pytest.approx([0.6])


def test_of_neighbouring_floats_the_lower_does_not_fire():
    low = torch.tensor(0.5)
    high = torch.nextafter(low, torch.tensor(1.0))
    scores, targets = torch.stack([high, low])[:, None], column(True, False)

    fired = apply_thresholds(scores, best_f1_thresholds(scores, targets, 1))

    assert fired.tolist() == [[True], [False]]


@pytest.mark.parametrize("seed", range(5))
def test_scores_that_are_off_by_little_get_the_same_labels(seed):
    scores, targets = random_scores(seed, decimals=3)  # so they lie at least 1e-3 apart
    thresholds = best_f1_thresholds(scores, targets)
    shifts = (torch.rand(scores.shape, generator=torch.Generator().manual_seed(seed)) - 0.5) * 2e-4

    fired = apply_thresholds(scores + shifts, thresholds)

    assert torch.equal(fired, apply_thresholds(scores, thresholds))


def test_scores_that_separate_the_classes_give_f1_of_1():
    scores = torch.linspace(0, 1, 50)[:, None]
    targets = scores > 0.6

    fired = apply_thresholds(scores, best_f1_thresholds(scores, targets))

    assert torch.equal(fired, targets)


@pytest.mark.parametrize("decimals", [1, 6])
@pytest.mark.parametrize("seed", range(5))
def test_no_observed_score_is_a_better_threshold(seed, decimals):
    scores, targets = random_scores(seed, decimals=decimals)
    found = best_f1_thresholds(scores, targets)

    for scores_c, targets_c, found_c in zip(scores.T, targets.T, found, strict=True):
        at = {t: f1(scores_c >= t, targets_c) for t in scores_c.tolist()}
        best = max(at.values())
        highest = max(t for t, value in at.items() if value == best)
        lower = max((t for t in at if t < highest), default=-1)
        assert lower < found_c.item() <= highest
        assert f1(scores_c >= found_c, targets_c) == best


def test_a_class_with_too_few_targets_gets_no_threshold():
    scores = torch.rand(20, 2, generator=torch.Generator().manual_seed(0))
    targets = torch.zeros(20, 2, dtype=torch.bool)
    targets[:4, 0] = True
    targets[:5, 1] = True

    assert best_f1_thresholds(scores, targets).isnan().tolist() == [True, False]


def test_a_class_without_targets_gets_no_threshold_whatever_is_asked():
    found = best_f1_thresholds(torch.rand(3, 1), torch.zeros(3, 1) > 0, min_positives=0)

    assert found.isnan().all()


def test_without_images_there_is_no_threshold():
    assert best_f1_thresholds(torch.zeros(0, 2), torch.zeros(0, 2) > 0).isnan().all()


def test_a_score_at_the_threshold_fires_and_none_fires_where_there_is_no_threshold():
    scores = torch.tensor([[0.5, 1.0], [0.4, 0.0]])

    fired = apply_thresholds(scores, torch.tensor([0.5, math.nan]))

    assert fired.tolist() == [[True, False], [False, False]]


def test_raising_a_threshold_never_adds_a_label():
    scores, _ = random_scores(7)

    low = apply_thresholds(scores, torch.full((5,), 0.3))
    high = apply_thresholds(scores, torch.full((5,), 0.6))

    assert (low >= high).all()


def test_permuted_classes_have_the_same_thresholds_permuted():
    scores, targets = random_scores(8)
    order = [2, 4, 0, 3, 1]

    assert torch.equal(
        best_f1_thresholds(scores, targets)[order],
        best_f1_thresholds(scores[:, order], targets[:, order]),
    )
