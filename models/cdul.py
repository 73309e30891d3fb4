"""The baseline: labels from a grid of tiles, as CDUL starts from (docs/method.md 20)."""

from __future__ import annotations

import torch
from torch import Tensor

#: Tiles on each side of the image.
GRID = 3

#: Largest probability over the tiles from which on a class counts as seen. Our choice: one half,
#: the point where one name outweighs all others together.
SEEN = 0.5


def tile_boxes(grid: int = GRID) -> Tensor:
    """The (grid * grid, 4) tiles of an image, row by row: xyxy as fractions of its sides."""
    edges = torch.linspace(0, 1, grid + 1)
    top, left = torch.meshgrid(edges[:-1], edges[:-1], indexing="ij")
    bottom, right = torch.meshgrid(edges[1:], edges[1:], indexing="ij")
    return torch.stack([left, top, right, bottom], dim=2).reshape(-1, 4)


def aggregate_tiles(tile_probs: Tensor, seen: float = SEEN) -> Tensor:
    """One probability a class: the largest of the tiles where it is seen, else the least.

    Args:
        tile_probs: (N, V, C) teacher softmax on the V tiles of each image.
        seen: a class is seen in an image where its largest probability is at least this.

    Returns:
        (N, C). The rule widens the gap: a class that no tile is sure of gets the answer of the tile
        that is surest of its absence.
    """
    most, least = tile_probs.amax(dim=1), tile_probs.amin(dim=1)
    return torch.where(most >= seen, most, least)


def cdul_labels(global_probs: Tensor, tile_probs: Tensor, seen: float = SEEN) -> Tensor:
    """(N, C) first pseudo-labels of CDUL: the mean of the whole view and the aggregated tiles.

    Args:
        global_probs: (N, C) teacher softmax on the whole image.
        tile_probs: (N, V, C) teacher softmax on its tiles.
        seen: see `aggregate_tiles`.
    """
    return (global_probs + aggregate_tiles(tile_probs, seen)) / 2
