"""What the student minimises (docs/method.md 12)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy of (B, C) logits against (B, C) soft labels in [0, 1]: a scalar.

    In single precision also under autocast.
    """
    return F.binary_cross_entropy_with_logits(logits.float(), labels.float())


def consistency_loss(strong_logits: Tensor, weak_logits: Tensor) -> Tensor:
    """Mean binary cross-entropy of the strong view against the weak view's probabilities: a scalar.

    Both are (B, C) logits. No gradient goes into the weak view: it is the target.
    """
    return classification_loss(strong_logits, weak_logits.detach().float().sigmoid())
