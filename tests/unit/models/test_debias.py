"""The teacher's bias by class, and labels in units of it."""

import math

import pytest
import torch
from torch import Tensor

from models.debias import debias, entropy, estimate_bias


def softmax_rows(n: int, num_classes: int, *, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(n, num_classes, generator=generator)).softmax(dim=1)


def test_entropy_of_a_fair_coin_is_ln_2():
    assert entropy(torch.tensor([[0.5, 0.5]])).tolist() == pytest.approx([math.log(2)])


def test_entropy_of_certainty_is_zero():
    assert entropy(torch.tensor([[0.0, 1.0, 0.0]])).tolist() == [0.0]


def test_entropy_is_largest_for_equal_probabilities():
    probs = softmax_rows(200, 7, seed=0)

    assert (entropy(probs) <= math.log(7)).all()
    assert (entropy(probs) >= 0).all()
    assert entropy(torch.full((1, 7), 1 / 7)).item() == pytest.approx(math.log(7))


def test_the_order_of_the_classes_cannot_change_the_entropy():
    probs = softmax_rows(500, 31, seed=1)
    order = torch.randperm(31, generator=torch.Generator().manual_seed(2))

    assert torch.equal(entropy(probs), entropy(probs[:, order]))


def test_the_bias_is_the_mean_top_probability_of_the_confident_images():
    probs = torch.tensor(
        [
            [0.9, 0.1, 0.0],  # entropy 0.33: confident, class 0 first
            [0.7, 0.3, 0.0],  # entropy 0.61: confident, class 0 first
            [0.2, 0.8, 0.0],  # entropy 0.50: confident, class 1 first
            [0.4, 0.3, 0.3],  # entropy 1.09: not confident
        ]
    )

    bias = estimate_bias(probs, max_entropy=0.7)

    # (0.9 + 0.7) / 2, 0.8 / 1, and 1 for the class that is never first.
    assert bias.factors.tolist() == pytest.approx([0.8, 0.8, 1.0])
    assert bias.counts.tolist() == [2, 1, 0]


def test_an_entropy_equal_to_the_cut_counts():
    probs = torch.tensor([[0.75, 0.25]])

    assert estimate_bias(probs, entropy(probs).item()).counts.tolist() == [1, 0]


def test_unsure_images_do_not_count_towards_the_bias():
    probs = torch.tensor([[0.9, 0.1], [0.4, 0.6]])  # entropies 0.33 and 0.67 nats

    assert estimate_bias(probs, 0.6).factors.tolist() == pytest.approx([0.9, 1.0])


def test_no_confident_image_means_no_correction():
    bias = estimate_bias(torch.full((3, 4), 0.25), max_entropy=1.0)

    assert bias.factors.tolist() == [1.0] * 4
    assert bias.counts.tolist() == [0] * 4


def test_no_image_means_no_correction():
    assert estimate_bias(torch.zeros(0, 3), 2.0).factors.tolist() == [1.0] * 3


def test_classes_that_tie_for_the_first_place_both_count():
    bias = estimate_bias(torch.tensor([[0.5, 0.5, 0.0]]), 2.0)

    assert bias.factors.tolist() == [0.5, 0.5, 1.0]
    assert bias.counts.tolist() == [1, 1, 0]


def test_permuted_classes_have_the_same_bias_permuted():
    probs = softmax_rows(3000, 23, seed=3)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(4))

    bias, permuted = estimate_bias(probs, 1.5), estimate_bias(probs[:, order], 1.5)

    assert torch.equal(bias.factors[order], permuted.factors)
    assert torch.equal(bias.counts[order], permuted.counts)


def test_the_sums_do_not_lose_small_terms():
    # In single precision a sum of 2^24 images of 0.75 would stop growing; here it is checked on
    # what fits a test: the mean of many equal values is that value.
    probs = torch.tensor([[0.7, 0.3]]).repeat(100_000, 1)

    assert estimate_bias(probs, 2.0).factors[0].item() == probs[0, 0].item()


def test_a_bias_lies_above_chance_and_at_most_at_1():
    factors = estimate_bias(softmax_rows(2000, 9, seed=5), 2.0).factors

    assert (factors > 1 / 9).all()
    assert (factors <= 1).all()


def test_debiased_labels_by_hand():
    probs = torch.tensor([[0.6, 0.25, 0.01, 0.14]])
    factors = torch.tensor([0.8, 0.25, 0.5, 0.1])

    # 0.6 / 0.8; reaches its factor; floor 0.05 / 0.5; 1.4 clamped.
    assert debias(probs, factors, 0.05).tolist() == [pytest.approx([0.75, 1.0, 0.1, 1.0])]


def test_a_bias_of_one_without_floor_changes_nothing():
    probs = softmax_rows(50, 6, seed=6)

    assert torch.equal(debias(probs, torch.ones(6), 0.0), probs)


def test_a_probability_that_reaches_its_factor_becomes_exactly_1():
    factors = softmax_rows(1, 50, seed=7)[0]

    assert (debias(factors[None], factors, 0.0) == 1).all()


def test_debiased_labels_lie_in_the_unit_interval_and_keep_the_order():
    probs, factors = softmax_rows(400, 5, seed=8), torch.tensor([0.1, 0.3, 0.5, 0.8, 1.0])

    labels = debias(probs, factors, 0.05)

    assert labels.min() >= 0.05
    assert labels.max() <= 1
    for column in range(5):
        ascending = labels[probs[:, column].argsort(), column]
        assert (ascending.diff() >= 0).all()
