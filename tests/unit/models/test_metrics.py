"""Average precision as scikit-learn has it; F1."""

import math

import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from torch import Tensor

from models.metrics import average_precision, f1_scores, mean_average_precision


def ties(seed: int, n: int = 300, num_classes: int = 6) -> tuple[Tensor, Tensor]:
    """Scores with many equal ones, and targets that go with them a little."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(n, num_classes, generator=generator)
    targets = torch.rand(n, num_classes, generator=generator) < 0.1 + 0.5 * scores
    return (scores * 20).round() / 20, targets


def column(*values: float | bool) -> Tensor:
    return torch.tensor(values)[:, None]


def test_average_precision_by_hand():
    scores = column(0.9, 0.8, 0.7, 0.6)
    targets = column(True, False, True, False)

    # Precision 1 at the first hit and 2/3 at the second, half of the recall each.
    assert average_precision(scores, targets).tolist() == pytest.approx([(1 + 2 / 3) / 2])


def test_equal_scores_are_one_step():
    # Both images have to be taken at once: precision 1/2 for all of the recall.
    assert average_precision(column(0.5, 0.5), column(True, False)).tolist() == [0.5]
    assert average_precision(column(0.5, 0.5), column(False, True)).tolist() == [0.5]


@pytest.mark.parametrize("seed", range(20))
def test_average_precision_is_scikit_learns(seed):
    scores, targets = ties(seed)

    expected = [
        average_precision_score(t.numpy(), s.numpy())
        for s, t in zip(scores.unbind(1), targets.unbind(1), strict=True)
    ]

    assert average_precision(scores, targets).tolist() == pytest.approx(expected, abs=1e-9)


def test_constant_scores_give_the_share_of_positives():
    targets = column(True, False, False, False, True)

    assert average_precision(torch.zeros(5, 1), targets).tolist() == pytest.approx([0.4])


def test_perfect_scores_give_1():
    _, targets = ties(0)

    assert average_precision(targets.float(), targets).tolist() == [1.0] * 6


def test_a_class_without_positives_has_no_average_precision():
    found = average_precision(torch.rand(4, 1), torch.zeros(4, 1, dtype=torch.bool))

    assert found.isnan().all()


def test_average_precision_depends_on_the_order_of_the_scores_alone():
    scores, targets = ties(1)

    assert torch.equal(
        average_precision(scores, targets), average_precision((5 * scores).exp(), targets)
    )


def test_permuted_classes_have_the_same_values_permuted():
    scores, targets = ties(2)
    order = [4, 0, 5, 1, 3, 2]

    assert torch.equal(
        average_precision(scores, targets)[order],
        average_precision(scores[:, order], targets[:, order]),
    )


def test_the_order_of_the_images_does_not_matter():
    scores, targets = ties(3)
    order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(0))

    assert torch.equal(
        average_precision(scores, targets), average_precision(scores[order], targets[order])
    )


def test_the_mean_leaves_out_classes_without_positives():
    scores = torch.tensor([[0.9, 0.9, 0.1], [0.1, 0.9, 0.9]])
    targets = torch.tensor([[True, True, False], [False, False, False]])

    assert mean_average_precision(scores, targets) == (1.0 + 0.5) / 2


def test_without_any_positive_there_is_no_mean():
    assert math.isnan(mean_average_precision(torch.rand(3, 2), torch.zeros(3, 2) > 0))


def test_f1_by_hand():
    predicted = column(True, True, False, False)
    targets = column(True, False, True, False)

    # One true positive, one false, one missed: 2 / (2 + 2).
    assert f1_scores(predicted, targets).tolist() == [0.5]


@pytest.mark.parametrize("seed", range(5))
def test_f1_is_scikit_learns(seed):
    scores, targets = ties(seed)
    predicted = scores > 0.5

    expected = f1_score(targets.numpy(), predicted.numpy(), average=None)

    assert f1_scores(predicted, targets).tolist() == pytest.approx(list(expected), abs=1e-9)


def test_f1_of_a_class_neither_predicted_nor_present_is_left_open():
    nothing = torch.zeros(3, 1, dtype=torch.bool)

    assert f1_scores(nothing, nothing).isnan().all()
    assert f1_scores(nothing, ~nothing).tolist() == [0.0]
