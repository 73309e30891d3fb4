"""A training step in parts is the step of the whole batch."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from models.config import PRESETS
from models.epochs import _Batch, _step
from models.training import Training


class Plain(nn.Module):
    """A student without batch normalisation, whose step depends on nothing but the gradient."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.features = nn.Conv2d(3, 4, 3)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, pixels):
        return self.head(self.features(pixels)).mean(dim=(2, 3))

    def prepare(self, images):
        return images.float() / 255

    def backbone_parameters(self):
        return list(self.features.parameters())

    def head_parameters(self):
        return list(self.head.parameters())


CONFIG = replace(PRESETS["tiny"], backbone_lr=0.01, head_lr=0.01)


def batch(size=5):
    generator = torch.Generator().manual_seed(2)
    weak, strong = (torch.randint(256, (size, 3, 8, 8), generator=generator) for _ in range(2))
    return _Batch(weak, strong, torch.rand(size, 2, generator=generator))


def trained(parts, steps=3):
    training = Training(Plain(), CONFIG)
    training.begin_epoch(0, steps=steps)
    told = [_step(training, batch().split(parts), CONFIG) for _ in range(steps)]
    return training.weights(), told


@pytest.mark.parametrize("parts", [2, 3, 5, 7])
def test_the_weights_loss_and_answers_are_those_of_the_whole_batch(parts):
    weights, told = trained(1)
    in_parts, told_in_parts = trained(parts)

    for name, value in weights.items():
        torch.testing.assert_close(in_parts[name], value, atol=1e-6, rtol=1e-5)
    for (loss, logits), (other_loss, other_logits) in zip(told, told_in_parts, strict=True):
        assert other_loss == pytest.approx(loss, rel=1e-5)
        torch.testing.assert_close(other_logits, logits, atol=1e-5, rtol=1e-4)


def test_gradients_add_up_to_the_mean_over_images_of_unequal_parts():
    training = Training(Plain(), CONFIG)
    halves = batch().split(2)
    assert [len(part.labels) for part in halves] == [3, 2]
    loss, _ = _step(training, halves, CONFIG)

    each = [_step(Training(Plain(), CONFIG), [part], CONFIG)[0] for part in halves]
    assert loss == pytest.approx((3 * each[0] + 2 * each[1]) / 5, rel=1e-5)


def test_a_step_forgets_the_gradients_of_the_one_before():
    training = Training(Plain(), CONFIG)
    _step(training, batch().split(2), CONFIG)

    assert all(p.grad is None for p in training.student.parameters())


def test_parts_may_have_no_strong_view():
    whole = batch(4)

    parts = _Batch(whole.weak, None, whole.labels).split(2)

    assert [part.strong for part in parts] == [None, None]
    assert torch.equal(torch.cat([part.weak for part in parts]), whole.weak)
