"""Local labels are the best of the local views; the update blends them with the global ones."""

import pytest
import torch
from torch import Tensor

from models.debias import debias
from models.labels import max_over_views, update_labels


def random_probs(n: int, num_classes: int, *, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(n, num_classes, generator=generator)).softmax(dim=1)


def test_each_class_keeps_its_best_view():
    views = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])

    local_probs = max_over_views(views, torch.tensor([2, 2, 0]), 3)

    assert local_probs.tolist() == [
        pytest.approx([0.6, 0.4]),
        [0.0, 0.0],  # no view
        pytest.approx([0.9, 0.8]),
    ]


def test_one_view_is_its_own_maximum():
    views = random_probs(10, 4, seed=0)

    assert torch.equal(max_over_views(views, torch.arange(10), 10), views)


def test_without_views_all_is_zero():
    empty = max_over_views(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), 2)

    assert torch.equal(empty, torch.zeros(2, 3))


def test_the_order_of_the_views_does_not_matter():
    views, index = random_probs(300, 5, seed=1), torch.arange(300) % 40
    order = torch.randperm(300, generator=torch.Generator().manual_seed(2))

    shuffled = max_over_views(views[order], index[order], 40)

    assert torch.equal(shuffled, max_over_views(views, index, 40))


def test_one_more_view_never_lowers_a_probability():
    views, index = random_probs(100, 5, seed=3), torch.arange(100) % 20

    fewer = max_over_views(views[:60], index[:60], 20)

    assert (max_over_views(views, index, 20) >= fewer).all()


def test_the_update_by_hand():
    updated = update_labels(
        torch.tensor([[1.0, 0.1]]),
        torch.tensor([[0.2, 0.9]]),
        torch.tensor([0.8, 0.6]),
        alpha=0.4,
        floor=0.05,
    )

    # 0.4 * 1 + 0.6 * 0.2 / 0.8 = 0.55; the local label 0.9 / 0.6 is clamped: 0.4 * 0.1 + 0.6.
    assert updated.tolist() == [pytest.approx([0.55, 0.64])]


def test_an_image_without_views_has_floor_labels_locally():
    updated = update_labels(
        torch.tensor([[1.0]]), torch.tensor([[0.0]]), torch.tensor([0.5]), alpha=0.0, floor=0.05
    )

    assert updated.item() == pytest.approx(0.1)  # 0.05 / 0.5


@pytest.fixture
def world() -> tuple[Tensor, Tensor, Tensor]:
    factors = torch.linspace(0.3, 1.0, 7)
    global_labels = debias(random_probs(500, 7, seed=4), factors, 0.05)
    return global_labels, random_probs(500, 7, seed=5), factors


def test_alpha_one_is_the_global_labels(world):
    assert torch.equal(update_labels(*world, alpha=1.0, floor=0.05), world[0])


def test_alpha_zero_is_the_local_labels(world):
    _, local_probs, factors = world

    assert torch.equal(
        update_labels(*world, alpha=0.0, floor=0.05), debias(local_probs, factors, 0.05)
    )


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.2, 1 / 3, 0.4, 0.5, 0.6, 0.7, 0.9, 1.0])
def test_updated_labels_lie_between_global_and_local_ones(world, alpha):
    global_labels, local_probs, factors = world
    local_labels = debias(local_probs, factors, 0.05)

    updated = update_labels(*world, alpha=alpha, floor=0.05)

    assert (updated <= torch.maximum(global_labels, local_labels)).all()
    assert (updated >= torch.minimum(global_labels, local_labels)).all()
    expected = alpha * global_labels.double() + (1 - alpha) * local_labels.double()
    assert torch.allclose(updated.double(), expected, atol=2e-7)


@pytest.mark.parametrize("step", range(21))
def test_a_label_of_one_on_both_sides_stays_exactly_one(step):
    one = torch.ones(1, 1)

    assert update_labels(one, one, one[0], alpha=step / 20, floor=0.05).item() == 1.0


def test_permuted_classes_have_the_same_labels_permuted(world):
    global_labels, local_probs, factors = world
    order = torch.tensor([3, 1, 6, 0, 2, 5, 4])

    permuted = update_labels(
        global_labels[:, order], local_probs[:, order], factors[order], alpha=0.4, floor=0.05
    )

    assert torch.equal(permuted, update_labels(*world, alpha=0.4, floor=0.05)[:, order])
