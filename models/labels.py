"""Local labels from local views, and the label update (docs/method.md 10, 11)."""

from __future__ import annotations

from torch import Tensor

from models.debias import debias


def max_over_views(view_probs: Tensor, image_index: Tensor, num_images: int) -> Tensor:
    """Largest probability of each class over the local views of each image.

    Args:
        view_probs: (M, C) teacher softmax on M local views.
        image_index: (M,) int64, the image in [0, num_images) that a view was cut from.
        num_images: n.

    Returns:
        (n, C); zero for an image without views, as in the released code.
    """
    rows = image_index[:, None].expand_as(view_probs)
    zeros = view_probs.new_zeros(num_images, view_probs.shape[1])
    return zeros.scatter_reduce(0, rows, view_probs, reduce="amax")


def update_labels(
    global_labels: Tensor, local_probs: Tensor, factors: Tensor, *, alpha: float, floor: float
) -> Tensor:
    """Pseudo-labels in [0, 1]: `alpha` of the global labels and the rest of the local ones.

    Args:
        global_labels: (N, C) debiased global labels in [0, 1].
        local_probs: (N, C) of `max_over_views`.
        factors: (C,) bias factors, the ones of the global views.
        alpha: weight of the global labels, in [0, 1].
        floor: smallest probability a class counts with, in (0, 1].

    Deviation: local labels are clamped to 1 before they are blended; unclamped, as released, one
    certain crop outvotes the global view whatever alpha is.
    """
    local_labels = debias(local_probs, factors, floor)
    gap = global_labels - local_labels
    # Two forms of one equation: the nearer end is exact, so 1 and 1 blend to exactly 1 in floats.
    if alpha < 0.5:
        return local_labels + alpha * gap
    return global_labels - (1 - alpha) * gap
