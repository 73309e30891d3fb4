"""Which images a report shows: the surest, the most doubtful, and those that look wrong."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from models.evidence import Evidence

#: Labels of an image expected to be wrong, from where on it is doubtful. Our choice: a label whose
#: odds are one to three.
DOUBTFUL = 0.25

#: Images that are ranked at once.
BLOCK_ROWS = 1 << 14


@dataclass(frozen=True)
class Samples:
    """Positions of images, the most telling first; no image stands in two lists.

    Attributes:
        surest: whose labels are clear, spread over the classes.
        doubtful: whose labels could most easily be others.
        disagreed: on which the student least says what it was taught.
        none: that look least like any class, of those that look like none.
    """

    surest: list[int]
    doubtful: list[int]
    disagreed: list[int]
    none: list[int]


@dataclass(frozen=True)
class Rankings:
    """How much every image is what a list looks for: (N,) each.

    Attributes:
        sureness: how clear its least clear score is, in [0, 0.5]; -inf without a label.
        surest_class: the class of its clearest label.
        doubt: how many of its labels would be wrong if scores at their threshold were fair coins.
        disagreement: sum of the differences on labels that the student has and was not taught, or
            was taught and has not.
    """

    sureness: Tensor
    surest_class: Tensor
    doubt: Tensor
    disagreement: Tensor


def choose(evidence: Evidence, none: Tensor | None, count: int) -> Samples:
    """Up to `count` images for each list; the same for the same evidence.

    Args:
        evidence: of the job.
        none: (N,) bool, images that look like none of the classes; None where it is not known.
        count: of images in a list.
    """
    ranks = rank_images(evidence)
    taken: set[int] = set()
    unlike = torch.full_like(ranks.doubt, -math.inf)
    if none is not None:
        unlike[none] = -evidence.best_prob[none]
    least = _take(unlike, taken, count, over=-math.inf)
    disagreed = _take(ranks.disagreement, taken, count, over=0)
    doubtful = _take(ranks.doubt, taken, count, over=DOUBTFUL)
    return Samples(
        surest=_take_spread(ranks.sureness, ranks.surest_class, taken, count),
        doubtful=doubtful,
        disagreed=disagreed,
        none=least,
    )


def rank_images(evidence: Evidence) -> Rankings:
    """How sure, doubtful and disputed every image is, a block of images at a time."""
    blocks = zip(
        torch.split(evidence.scores, BLOCK_ROWS),
        torch.split(evidence.pseudo, BLOCK_ROWS),
        torch.split(evidence.positive, BLOCK_ROWS),
        strict=True,
    )
    parts = [_rank(centred(scores, evidence.thresholds), *told) for scores, *told in blocks]
    return Rankings(*(torch.cat(column) for column in zip(*parts, strict=True)))


def centred(scores: Tensor, thresholds: Tensor) -> Tensor:
    """(N, C) scores moved so that each class's threshold comes to one half.

    The logits are shifted, so 0 and 1 stay. A class without a threshold never fires: 0.
    """
    shift = torch.logit(thresholds, eps=1e-6)
    return (torch.logit(scores, eps=1e-6) - shift).sigmoid().nan_to_num(0)


def _rank(
    scores: Tensor, pseudo: Tensor, positive: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The rankings of a block, from centred scores."""
    fired = scores >= 0.5
    clear = (scores - 0.5).abs()
    sureness = clear.amin(dim=1).where(fired.any(dim=1), -math.inf)
    disputed = (scores - pseudo).abs() * (fired != positive)
    return (
        sureness,
        scores.argmax(dim=1),
        torch.minimum(scores, 1 - scores).sum(dim=1),
        disputed.sum(dim=1),
    )


def _take(ranking: Tensor, taken: set[int], count: int, *, over: float) -> list[int]:
    """The images that rank highest, above `over`, and are not taken; they are taken then."""
    best = ranking.argsort(descending=True, stable=True)[: count + len(taken)]
    found = [i for i in best.tolist() if ranking[i] > over and i not in taken][:count]
    taken.update(found)
    return found


def _take_spread(ranking: Tensor, classes: Tensor, taken: set[int], count: int) -> list[int]:
    """As `_take`, but the next image is always of a class that has had the fewest so far."""
    order = ranking.argsort(descending=True, stable=True).tolist()
    sureness, class_of = ranking.tolist(), classes.tolist()
    queues: dict[int, list[int]] = {}
    for image in order:
        if sureness[image] > -math.inf and image not in taken:
            queues.setdefault(class_of[image], []).append(image)
    # The first of every class, then the second of every class; the surest first in each round.
    rounds = [(k, -sureness[i], i) for queue in queues.values() for k, i in enumerate(queue)]
    found = [image for _, _, image in heapq.nsmallest(count, rounds)]
    taken.update(found)
    return found
