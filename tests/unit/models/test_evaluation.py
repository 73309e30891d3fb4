"""Figures against a truth: by hand, as scikit-learn has them, and what must always hold."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    precision_recall_fscore_support,
)

from models.evaluation import CALIBRATION_BINS, RECALL_STEPS, calibrate, evaluate, thin_curve
from models.metrics import average_precision, mean_average_precision, rank
from models.thresholds import best_f1_thresholds


def random_case(seed, *, n=400, num_classes=5, decimals=2):
    """Scores with ties, targets that go with them, and one cell in ten that nobody judges."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(n, num_classes, generator=generator)
    targets = torch.rand(n, num_classes, generator=generator) < scores**2
    ignored = torch.rand(n, num_classes, generator=generator) < 0.1
    return scores.round(decimals=decimals), targets, ignored


def column(*values):
    return torch.tensor(values)[:, None]


# Two classes on four images. Class 0 fires on images 0, 1, 2 and is there on 0, 1, 3;
# class 1 fires on image 0 and is there on 1.
SCORES = torch.tensor([[0.9, 0.8], [0.7, 0.1], [0.6, 0.2], [0.2, 0.3]])
TARGETS = torch.tensor([[1, 0], [1, 1], [0, 0], [1, 0]]) > 0


def test_decisions_by_hand():
    own = evaluate(SCORES, TARGETS, thresholds=torch.tensor([0.5, 0.5])).own

    assert own.precision.tolist() == pytest.approx([2 / 3, 0])
    assert own.recall.tolist() == pytest.approx([2 / 3, 0])
    assert own.f1.tolist() == pytest.approx([2 / 3, 0])
    # CP and CR are 1/3 both. Of 4 answers 2 are right, of 4 labels 2 are found.
    assert own.class_f1.item() == pytest.approx(1 / 3)
    assert (own.overall_precision.item(), own.overall_recall.item()) == (0.5, 0.5)
    assert own.overall_f1.item() == 0.5
    assert own.macro_f1.item() == pytest.approx(1 / 3)


def test_class_f1_is_not_the_mean_of_f1():
    """Precision 1 and recall 1/2 in one class, the other way round in the other."""
    targets = torch.tensor([[1, 1], [1, 0]]) > 0
    scores = torch.tensor([[1.0, 1.0], [0.0, 1.0]])

    own = evaluate(scores, targets, thresholds=torch.tensor([0.5, 0.5])).own

    assert own.macro_f1.item() == pytest.approx(2 / 3)
    assert own.class_f1.item() == pytest.approx(3 / 4)


@pytest.mark.parametrize("seed", range(10))
def test_average_precision_with_ignored_cells_is_scikit_learns_without_them(seed):
    scores, targets, ignored = random_case(seed)

    figures = evaluate(scores, targets, ignored=ignored)

    expected = [
        average_precision_score(t[~i].numpy(), s[~i].numpy())
        for s, t, i in zip(scores.T, targets.T, ignored.T, strict=True)
    ]
    assert figures.average_precision.tolist() == pytest.approx(expected, abs=1e-9)
    assert figures.mean_average_precision.item() == pytest.approx(np.mean(expected), abs=1e-9)
    assert torch.equal(average_precision(scores, targets, ignored), figures.average_precision)
    assert mean_average_precision(scores, targets, ignored) == figures.mean_average_precision


@pytest.mark.parametrize("seed", range(10))
def test_decisions_are_scikit_learns(seed):
    scores, targets, _ = random_case(seed)
    thresholds = torch.linspace(0.3, 0.7, 5)

    own = evaluate(scores, targets, thresholds=thresholds).own

    fires = (scores >= thresholds).numpy()
    each = precision_recall_fscore_support(targets.numpy(), fires)
    macro = precision_recall_fscore_support(targets.numpy(), fires, average="macro")
    micro = precision_recall_fscore_support(targets.numpy(), fires, average="micro")
    found = (own.precision, own.recall, own.f1, own.support)
    for ours, theirs in zip(found, each, strict=True):
        assert ours.tolist() == pytest.approx(theirs.tolist(), abs=1e-9)
    means = (own.class_precision, own.class_recall, own.macro_f1)
    assert [mean.item() for mean in means] == pytest.approx(macro[:3], abs=1e-9)
    overall = (own.overall_precision, own.overall_recall, own.overall_f1)
    assert [mean.item() for mean in overall] == pytest.approx(micro[:3], abs=1e-9)


def test_an_ignored_cell_counts_nowhere():
    scores, targets, ignored = random_case(3)
    thresholds = torch.full((5,), 0.5)

    figures = evaluate(scores, targets, thresholds=thresholds, ignored=ignored)
    other = evaluate(
        torch.where(ignored, 1 - scores, scores),
        targets ^ ignored,
        thresholds=thresholds,
        ignored=ignored,
    )

    assert torch.equal(figures.average_precision, other.average_precision)
    assert torch.equal(figures.support, other.support)
    assert torch.equal(figures.calibration.error, other.calibration.error)
    for mine, its in ((figures.own, other.own), (figures.best, other.best)):
        assert torch.equal(mine.true, its.true)
        assert torch.equal(mine.fired, its.fired)
        assert torch.equal(mine.support, its.support)
    assert figures.ignored.tolist() == ignored.sum(0).tolist()
    assert all(map(torch.equal, figures.curves, other.curves))


def test_ignoring_nothing_changes_nothing():
    scores, targets, _ = random_case(4)

    plain = evaluate(scores, targets)
    masked = evaluate(scores, targets, ignored=torch.zeros_like(targets))

    assert torch.equal(plain.average_precision, masked.average_precision)
    assert torch.equal(plain.best.thresholds, masked.best.thresholds)
    assert plain.own is None


def test_a_class_without_positives_is_left_out_of_means_and_not_zero():
    scores = torch.cat([SCORES, column(0.9, 0.1, 0.1, 0.1)], dim=1)
    targets = torch.cat([TARGETS, column(False, False, False, False)], dim=1)

    figures = evaluate(scores, targets, thresholds=torch.full((3,), 0.5))
    without = evaluate(SCORES, TARGETS, thresholds=torch.full((2,), 0.5))

    assert figures.average_precision[2].isnan()
    assert figures.mean_average_precision == without.mean_average_precision
    assert figures.own.class_f1 == without.own.class_f1
    # It fires once for nothing: 2 right of 5.
    assert figures.own.overall_precision.item() == pytest.approx(0.4)
    assert figures.best.thresholds[2].isnan()
    assert figures.curves[2].shape == (0, 3)


def test_a_class_that_never_fires_has_no_precision_and_counts_0_in_the_mean():
    own = evaluate(SCORES, TARGETS, thresholds=torch.tensor([0.5, math.nan])).own

    assert own.precision[1].isnan()
    assert own.recall[1] == 0
    assert own.class_precision.item() == pytest.approx(1 / 3)


def test_without_positives_nothing_is_made_up():
    figures = evaluate(SCORES, TARGETS & False, thresholds=torch.full((2,), 0.5))

    assert figures.mean_average_precision.isnan()
    assert figures.own.class_f1.isnan()
    assert figures.own.overall_recall.isnan()
    assert figures.own.overall_precision == 0


def test_without_images_nothing_is_made_up():
    figures = evaluate(SCORES[:0], TARGETS[:0], thresholds=torch.full((2,), 0.5))

    assert figures.average_precision.isnan().all()
    assert figures.calibration.error.isnan().all()


@pytest.mark.parametrize("seed", range(5))
def test_the_best_thresholds_are_no_worse_than_any_others(seed):
    scores, targets, ignored = random_case(seed)

    best = evaluate(scores, targets, ignored=ignored).best

    for threshold in torch.linspace(0, 1, 50):
        own = evaluate(scores, targets, thresholds=threshold.expand(5), ignored=ignored).own
        assert (best.f1 >= own.f1.nan_to_num()).all()
    assert torch.equal(best.thresholds, best_f1_thresholds(scores, targets, 1, ignored).double())


# Curves


@pytest.mark.parametrize("decimals", [2, 6])
@pytest.mark.parametrize("seed", range(5))
def test_a_thinned_curve_has_the_envelope_of_scikit_learns(seed, decimals):
    scores, targets, _ = random_case(seed, n=3000, num_classes=1, decimals=decimals)

    curve = thin_curve(rank(scores[:, 0], targets[:, 0]))

    precision, recall, _ = precision_recall_curve(targets[:, 0].numpy(), scores[:, 0].numpy())
    assert len(curve) <= RECALL_STEPS + 1
    for step in range(RECALL_STEPS + 1):
        level = step / RECALL_STEPS - 1e-12
        # scikit-learn ends its curve with a point of its own: recall 0, precision 1.
        whole = precision[:-1][recall[:-1] >= level].max()
        assert curve[curve[:, 1] >= level, 2].max().item() == pytest.approx(whole, abs=1e-12)


def test_a_thinned_curve_by_hand():
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    targets = torch.tensor([True, False, True, False])

    curve = thin_curve(rank(scores, targets))

    assert curve.flatten().tolist() == pytest.approx([0.9, 0.5, 1, 0.7, 1, 2 / 3])


@pytest.mark.parametrize("seed", range(5))
def test_every_point_of_a_curve_is_what_its_threshold_gives(seed):
    scores, targets, _ = random_case(seed, num_classes=1)

    curve = thin_curve(rank(scores[:, 0], targets[:, 0]))

    assert (curve[:, 1].diff() > 0).all()
    for threshold, recall, precision in curve:
        own = evaluate(scores, targets, thresholds=threshold[None]).own
        assert own.recall.item() == pytest.approx(recall.item())
        assert own.precision.item() == pytest.approx(precision.item())


# Calibration


def test_calibration_by_hand():
    # Bins of 1/15: 0.05 is in the first, 0.9 in the fourteenth, 1 in the last.
    scores, targets = column(0.05, 0.05, 0.9, 1.0), column(False, True, True, True)

    found = calibrate(scores.double(), targets)

    # Half of the images are 0.45 off, a quarter 0.1, a quarter not at all.
    assert found.error.item() == pytest.approx(0.5 * 0.45 + 0.25 * 0.1)
    assert found.counts[0].nonzero().flatten().tolist() == [0, 13, 14]


def test_scores_that_are_always_right_have_no_calibration_error():
    _, targets, _ = random_case(0)

    assert calibrate(targets.float(), targets).error.tolist() == [0] * 5
    assert calibrate((~targets).float(), targets).error.tolist() == [1] * 5


@pytest.mark.parametrize("seed", range(5))
def test_calibration_is_the_weighted_mean_over_bins(seed):
    scores, targets, ignored = random_case(seed, decimals=6)

    found = calibrate(scores, targets, ignored).error

    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    for error, s, t, i in zip(found, scores.T, targets.T, ignored.T, strict=True):
        own, true = s[~i].double().numpy(), t[~i].numpy()
        bins = np.digitize(own, edges[1:-1])
        gaps = [
            (bins == b).mean() * abs(own[bins == b].mean() - true[bins == b].mean())
            for b in np.unique(bins)
        ]
        assert error.item() == pytest.approx(sum(gaps), abs=1e-9)


def test_permuted_classes_have_the_same_figures_permuted():
    scores, targets, ignored = random_case(6)
    order = [3, 1, 4, 0, 2]

    figures = evaluate(scores, targets, ignored=ignored)
    turned = evaluate(scores[:, order], targets[:, order], ignored=ignored[:, order])

    assert torch.equal(figures.average_precision[order], turned.average_precision)
    assert torch.equal(figures.best.thresholds[order], turned.best.thresholds)
    assert torch.equal(figures.calibration.error[order], turned.calibration.error)
