"""Two mean binary cross-entropies."""

import math

import pytest
import torch
from torch import Tensor

from models.losses import classification_loss, consistency_loss


def random_logits(seed: int) -> Tensor:
    return 4 * torch.randn(8, 5, generator=torch.Generator().manual_seed(seed))


def test_the_classification_loss_by_hand():
    # sigmoid(0) = 1/2: -ln(1/2) for either label; sigmoid(ln 3) = 3/4 against the label 1.
    logits = torch.tensor([[0.0, math.log(3)]])

    loss = classification_loss(logits, torch.tensor([[0.3, 1.0]]))

    assert loss.item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def test_the_loss_is_least_where_the_probability_is_the_label():
    labels = torch.tensor([[0.2, 0.5, 0.9]])
    logits = labels.logit().requires_grad_()

    classification_loss(logits, labels).backward()

    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-7


def test_large_logits_give_finite_losses():
    logits = torch.tensor([[500.0, -500.0]])

    assert classification_loss(logits, torch.tensor([[0.0, 1.0]])).item() == pytest.approx(500)


def test_consistency_of_a_view_with_itself_is_its_entropy():
    logits = random_logits(0)
    probs = logits.double().sigmoid()
    entropy = -(probs * probs.log() + (1 - probs) * (1 - probs).log()).mean()

    assert consistency_loss(logits, logits).item() == pytest.approx(entropy.item(), abs=1e-6)


def test_consistency_is_least_where_the_views_agree():
    weak = random_logits(1)

    for seed in range(2, 12):
        assert consistency_loss(random_logits(seed), weak) > consistency_loss(weak, weak)


def test_no_gradient_goes_into_the_weak_view():
    strong, weak = random_logits(0).requires_grad_(), random_logits(1).requires_grad_()

    consistency_loss(strong, weak).backward()

    assert weak.grad is None
    assert strong.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_are_in_single_precision_whatever_the_logits_are(dtype):
    logits, labels = random_logits(0).to(dtype), random_logits(1).sigmoid()

    assert classification_loss(logits, labels).dtype == torch.float32
    assert consistency_loss(logits, logits).dtype == torch.float32


def test_the_order_of_the_classes_does_not_change_the_loss():
    logits, labels = random_logits(0), random_logits(1).sigmoid()

    assert classification_loss(logits.flip(1), labels.flip(1)).item() == pytest.approx(
        classification_loss(logits, labels).item()
    )
