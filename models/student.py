"""The student: a convolutional trunk and a 1x1 head whose maps are the class activation maps."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from models.random import stream_seed
from models.teacher import Teacher
from models.trunks import Trunk, make_trunk

__all__ = ["Student", "build_student"]


class Student(nn.Module):
    """A multi-label classifier that shows where it saw each class.

    Attributes:
        name: kind of the trunk.
        size: side of its square input in pixels, the one it trains and predicts at.
        mean: of the three channels, for values in [0, 1].
        std: of the three channels.
        boost: factor on the positive part of the activation maps.
    """

    def __init__(
        self, trunk: Trunk, num_classes: int, *, name: str, size: int, boost: float
    ) -> None:
        super().__init__()
        self.name = name
        self.size = size
        self.mean = trunk.mean
        self.std = trunk.std
        self.boost = boost
        self.features = trunk.features
        self.head = nn.Conv2d(trunk.channels, num_classes, kernel_size=1)
        self._mean = nn.Buffer(torch.tensor(trunk.mean).view(1, 3, 1, 1), persistent=False)
        self._std = nn.Buffer(torch.tensor(trunk.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, C) logits of `prepare`d images: the mean of each class's map."""
        return self.cams(pixels).mean(dim=(2, 3))

    def cams(self, pixels: Tensor) -> Tensor:
        """(B, C, h, w) class activation maps, their positive part times `boost`."""
        maps: Tensor = self.head(self.features(pixels))
        return maps + maps.relu() * (self.boost - 1)

    def prepare(self, images: Tensor) -> Tensor:
        """Normalised float input from (B, 3, S, S) values in [0, 255], uint8 or float."""
        return (images.float() / 255 - self._mean) / self._std

    def backbone_parameters(self) -> list[nn.Parameter]:
        """What is trained at the lower learning rate."""
        return [p for p in self.features.parameters() if p.requires_grad]

    def head_parameters(self) -> list[nn.Parameter]:
        """What starts at random and is trained at the higher learning rate."""
        return list(self.head.parameters())


def build_student(
    name: str,
    num_classes: int,
    *,
    size: int,
    stride: int | None = None,
    weights: str = "imagenet",
    boost: float = 3.0,
    seed: int = 0,
    teacher: Teacher | None = None,
    weights_dir: Path | None = None,
) -> Student:
    """A student before its first epoch.

    Args:
        name: a torchvision ResNet, "tf_efficientnet_lite0" or "teacher-tower".
        num_classes: C.
        size: side of its input in pixels.
        stride: pixels of input between two cells of its maps, at most; None is the trunk's own.
        weights: "imagenet", "random", or the path of a file; "teacher-tower" ignores it.
        boost: factor on the positive part of the activation maps.
        seed: of the head, and of a random trunk.
        teacher: whose image tower a "teacher-tower" starts as.
        weights_dir: looked into before the network for ImageNet weights.

    Raises:
        WeightsMissing: the ImageNet weights cannot be had.
        TeacherError: there is no such student, or the teacher's tower is not convolutional.
    """
    trunk = make_trunk(
        name,
        size=size,
        stride=stride,
        weights=weights,
        seed=seed,
        teacher=teacher,
        weights_dir=weights_dir,
    )
    student = Student(trunk, num_classes, name=name, size=size, boost=boost)
    start_head(student.head, seed)
    return student


@torch.no_grad()
def start_head(head: nn.Conv2d, seed: int) -> None:
    """Uniform initial values within 1 / sqrt(channels), a stream of its own for every class.

    So a class starts the same whatever classes come after it.
    """
    bound = head.in_channels**-0.5
    for position in range(head.out_channels):
        stream = torch.Generator().manual_seed(stream_seed((seed, "head", position)))
        values = torch.rand(head.in_channels + 1, generator=stream) * 2 * bound - bound
        head.weight[position] = values[:-1].view(-1, 1, 1)
        assert head.bias is not None
        head.bias[position] = values[-1]
