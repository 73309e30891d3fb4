"""Finer feature maps from published weights: strides replaced by dilation, padding made static."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import get_same_padding
from torch import Tensor, nn

#: Pixels of input between two cells after the stem and after each stage of a ResNet.
STAGE_STRIDES = {"layer2": 8, "layer3": 16, "layer4": 32}


class PaddedConv2d(nn.Conv2d):
    """A convolution with its own padding on each side: left, right, top, bottom."""

    pads: tuple[int, int, int, int] = (0, 0, 0, 0)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C', h, w) from (B, C, H, W)."""
        return super().forward(F.pad(x, self.pads))


def dilate_resnet(network: Any, stride: int) -> None:
    """Replace strides by dilation until the output stride is at most `stride`, in place.

    Works on torchvision's and CLIP's ResNets. No weight changes, and the new maps hold the old
    ones: at every second cell for each stride that was replaced.
    """
    before = 1
    for name, native in STAGE_STRIDES.items():
        after = before * 2 if native > stride else before
        for block in getattr(network, name):
            _dilate_block(block, before, after)
            before = after


def _dilate_block(block: Any, before: int, after: int) -> None:
    """Dilate one block: by `before` up to where its stride was, by `after` from there on."""
    strided = before != after
    dilation = before
    for conv in [m for name, m in block.named_children() if name.startswith("conv")]:
        if conv.kernel_size == (3, 3):
            conv.dilation = conv.padding = (dilation, dilation)
        if strided and conv.stride == (2, 2):
            conv.stride = (1, 1)
            dilation = after
    if not strided:
        return
    if isinstance(getattr(block, "avgpool", None), nn.AvgPool2d):  # CLIP's stride is a mean
        block.avgpool = _dense_mean(block.conv2.out_channels, before)
    for index, layer in enumerate(block.downsample):
        if isinstance(layer, nn.AvgPool2d):
            following = block.downsample[index + 1]
            name = list(block.downsample._modules)[index]  # noqa: SLF001  the native name stays
            setattr(block.downsample, name, _dense_mean(following.in_channels, before))
        elif isinstance(layer, nn.Conv2d):
            layer.stride = (1, 1)


def _dense_mean(channels: int, dilation: int) -> PaddedConv2d:
    """`AvgPool2d(2)` at every cell and not only at every second: the same means, frozen."""
    mean = PaddedConv2d(channels, channels, 2, dilation=dilation, groups=channels, bias=False)
    mean.pads = (0, dilation, 0, dilation)
    nn.init.constant_(mean.weight, 0.25)
    return mean.requires_grad_(requires_grad=False)


def pad_statically(network: nn.Module, size: int) -> None:
    """Fix the padding that TensorFlow's networks compute from each input, in place.

    It is what an input of `size` pixels gets. At another size the maps shift by at most a cell
    of the layer in question; in return the network is made of plain operations only.
    """
    shapes: dict[nn.Module, torch.Size] = {}
    convs = [(n, m) for n, m in network.named_modules() if isinstance(m, Conv2dSame)]
    hooks = [
        m.register_forward_pre_hook(lambda m, x: shapes.update({m: x[0].shape})) for _, m in convs
    ]
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, size, size))
    for hook in hooks:
        hook.remove()
    for name, conv in convs:
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, _padded(conv, shapes[conv][-2:]))
    network.train()


def _padded(conv: Any, shape: torch.Size) -> PaddedConv2d:
    fixed = PaddedConv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        stride=conv.stride,
        dilation=conv.dilation,
        groups=conv.groups,
        bias=conv.bias is not None,
    )
    fixed.weight, fixed.bias = conv.weight, conv.bias
    vertical, horizontal = (
        get_same_padding(
            shape[axis], conv.kernel_size[axis], conv.stride[axis], conv.dilation[axis]
        )
        for axis in (0, 1)
    )
    fixed.pads = (
        horizontal // 2,
        horizontal - horizontal // 2,
        vertical // 2,
        vertical - vertical // 2,
    )
    return fixed
