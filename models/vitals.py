"""The vital signs of a job: figures about labels that nobody has checked (docs/report.md)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from models.evidence import Evidence, Views, WholeViews
from models.metrics import f1_scores

#: Bars of a score histogram over [0, 1]: each is 0.05 wide.
HISTOGRAM_BINS = 20

#: Names that a softmax needs before an answer on a crop can mean "none of these": with 3 names
#: every crop of anything gets one of them. Our choice: as many classes as the paper has, which is
#: also what background names fill a list up to.
ENOUGH_NAMES = 20

#: Labels of one image are counted up to this many; the last count is "as many or more".
MOST_LABELS = 10

#: Images whose labels are counted at once; their counts are exact in single precision.
BLOCK_ROWS = 1 << 16

#: Pairs of classes that are looked at more closely, those nearest to each other.
MOST_PAIRS = 20


@dataclass(frozen=True)
class Pair:
    """Two classes that fire on the same images.

    Attributes:
        a: position of a class.
        b: position of another.
        overlap: images with both over images with either.
        images: with both.
        region: mean overlap of their local views on those; None where no image has both views.
    """

    a: int
    b: int
    overlap: float
    images: int
    region: float | None


@dataclass(frozen=True)
class NamePair:
    """Two names that lie near each other for the teacher.

    Attributes:
        a: position of a class.
        b: position of another.
        distance: between their features.
        usual: the median distance between two names of the job.
    """

    a: int
    b: int
    distance: float
    usual: float


@dataclass(frozen=True, kw_only=True)
class Vitals:
    """The figures of a job; lists by class have the order of `names`, counts are of images.

    Attributes:
        names: of the classes.
        num_images: that differ in their bytes.
        low_entropy: share of images on which the teacher is sure enough to count for the bias.
        max_entropy: what "sure enough" means, in nats.
        background_share: share of images on which a background name comes first; None: the
            teacher was asked about none.
        unseen_share: share of images in no view of which the teacher is sure of a class; None:
            too few names to tell.
        sure: what the teacher gives a class on average where it is sure.
        agreement: F1 of the student's labels against those it learned from, over the classes that
            have a threshold; None without any.
        labels_per_image: images with 0, 1, 2, ... labels; the last has all with more.
        bias_factors: by class.
        bias_images: by class, the images behind the factor.
        first_shares: by class, share of the images of which it is the teacher's first answer.
        sightings: by class, images in which the teacher is sure of it in some view.
        positives: by class, images that taught it to the student.
        fired: by class, images that the student gives it to.
        thresholds: by class; None: it has none.
        class_agreement: by class, as `agreement`.
        histograms: by class, scores in bars of equal width over [0, 1].
        pairs: classes that fire together most, the closest first.
        name_pairs: names that lie nearest to each other, the nearest first.
    """

    names: tuple[str, ...]
    num_images: int
    low_entropy: float
    max_entropy: float
    background_share: float | None
    unseen_share: float | None
    sure: float
    agreement: float | None
    labels_per_image: list[int]
    bias_factors: list[float]
    bias_images: list[int]
    first_shares: list[float]
    sightings: list[int]
    positives: list[int]
    fired: list[int]
    thresholds: list[float | None]
    class_agreement: list[float | None]
    histograms: list[list[int]]
    pairs: list[Pair]
    name_pairs: list[NamePair]


def take_vitals(evidence: Evidence, views: Callable[[], Iterable[Views]]) -> Vitals:
    """All figures of a job; `views` gives its local views, a shard in memory at a time."""
    fired, positive = evidence.fired, evidence.positive
    sure = usual_certainty(evidence)
    overall, by_class = agreement(fired, positive, evidence.thresholds)
    return Vitals(
        names=tuple(evidence.names),
        num_images=evidence.num_images,
        low_entropy=(evidence.whole.entropy <= evidence.max_entropy).double().mean().item(),
        max_entropy=evidence.max_entropy,
        background_share=_share(evidence.whole.is_background),
        unseen_share=_share(unseen(evidence, sure)),
        sure=sure,
        agreement=_known(overall),
        labels_per_image=labels_per_image(fired).tolist(),
        bias_factors=evidence.bias.factors.tolist(),
        bias_images=evidence.bias.counts.tolist(),
        first_shares=first_shares(evidence.whole, len(evidence.names)).tolist(),
        sightings=(evidence.best_probs >= sure).sum(dim=0).tolist(),
        positives=positive.sum(dim=0).tolist(),
        fired=fired.sum(dim=0).tolist(),
        thresholds=[_known(value) for value in evidence.thresholds.tolist()],
        class_agreement=[_known(value) for value in by_class.tolist()],
        histograms=histograms(evidence.scores).tolist(),
        pairs=closest_pairs(fired, views()),
        name_pairs=closest_names(evidence.text, len(evidence.names)),
    )


def usual_certainty(evidence: Evidence) -> float:
    """What the teacher gives a class on average where it is sure of it: the median bias factor.

    Of the factors that were found; 1 where none was.
    """
    found = evidence.bias.factors[evidence.bias.counts > 0]
    return found.median().item() if len(found) else 1.0


def unseen(evidence: Evidence, sure: float) -> Tensor | None:
    """(N,) bool: the teacher is `sure` of no class in any view, whole or local.

    None where the softmax has fewer than `ENOUGH_NAMES` names: then it is sure of every crop.
    """
    if len(evidence.text) < ENOUGH_NAMES:
        return None
    return evidence.best_prob < sure


def looks_like_none(evidence: Evidence) -> Tensor | None:
    """(N,) bool: the teacher sees none of the classes, by all that is known; None: nothing is.

    A background name comes first on the whole image, and the teacher is sure of no class in any
    view.
    """
    signs = evidence.whole.is_background, unseen(evidence, usual_certainty(evidence))
    known = [sign for sign in signs if sign is not None]
    return torch.stack(known).all(dim=0) if known else None


def histograms(scores: Tensor) -> Tensor:
    """(C, HISTOGRAM_BINS) int64: how many of the (N, C) scores in [0, 1] fall into each bar."""
    columns = scores.unbind(dim=1)
    return torch.stack([column.histc(HISTOGRAM_BINS, 0, 1) for column in columns]).long()


def labels_per_image(fired: Tensor) -> Tensor:
    """(MOST_LABELS + 1,) int64: images with 0, 1, 2, ... labels; the last has all with more."""
    return fired.sum(dim=1).clamp(max=MOST_LABELS).bincount(minlength=MOST_LABELS + 1)


def first_shares(whole: WholeViews, num_classes: int) -> Tensor:
    """(C,) share of the images of which a class is the teacher's first answer."""
    counts = whole.top.bincount(minlength=num_classes)[:num_classes]
    return counts.double() / max(len(whole.top), 1)


def agreement(fired: Tensor, positive: Tensor, thresholds: Tensor) -> tuple[float, Tensor]:
    """F1 of the student's (N, C) labels against the ones it learned from.

    Returns:
        Over all labels of classes that have a threshold, NaN where there is none; and (C,), NaN
        for a class without a threshold or without labels.
    """
    can_fire = ~thresholds.isnan()
    fired, positive = fired[:, can_fire], positive[:, can_fire]
    alike = (fired & positive).sum().double()
    by_class = torch.full(can_fire.shape, math.nan, dtype=torch.float64)
    by_class[can_fire] = f1_scores(fired, positive)
    return (2 * alike / (fired.sum() + positive.sum())).item(), by_class


def together(fired: Tensor) -> tuple[Tensor, Tensor]:
    """How often two classes fire on the same images.

    Returns:
        overlap: (C, C) images with both over images with either; 0 where neither fires.
        images: (C, C) int64 with both.
    """
    num_classes = fired.shape[1]
    both = torch.zeros(num_classes, num_classes, dtype=torch.float64)
    for block in torch.split(fired, BLOCK_ROWS):
        ones = block.float()
        both += ones.T @ ones
    alone = both.diagonal()
    return both / (alone[:, None] + alone - both).clamp(min=1), both.long()


def closest_pairs(fired: Tensor, shards: Iterable[Views]) -> list[Pair]:
    """The classes that fire together most, and how much their local views share there.

    Args:
        fired: (N, C) bool.
        shards: local views of the same images, in the same order.
    """
    overlap, images = together(fired)
    pairs = _top_pairs(overlap)
    found: list[list[Tensor]] = [[] for _ in pairs]
    start = 0
    for shard in shards:
        here = fired[start : start + shard.num_images]
        start += shard.num_images
        for overlaps, (a, b) in zip(found, pairs, strict=True):
            overlaps.append(shard.overlaps((here[:, a] & here[:, b]).nonzero()[:, 0], a, b))
    return [
        Pair(a, b, overlap[a, b].item(), int(images[a, b]), _known(torch.cat(shared).mean().item()))
        for (a, b), shared in zip(pairs, found, strict=True)
        if images[a, b]
    ]


def closest_names(text: Tensor, num_classes: int) -> list[NamePair]:
    """The names of classes that lie nearest to each other for the teacher.

    Args:
        text: (T, D) features of all names in the softmax, the classes first.
        num_classes: C.
    """
    exact = "donot_use_mm_for_euclid_dist"  # the other way gives 1e-3 for a distance of 0
    distances = torch.cdist(text.double(), text.double(), compute_mode=exact)
    pairs = distances[torch.ones_like(distances).triu(diagonal=1).bool()]
    usual = pairs.median().item() if len(pairs) else 0.0
    among_classes = distances[:num_classes, :num_classes]
    return [
        NamePair(a, b, among_classes[a, b].item(), usual) for a, b in _top_pairs(-among_classes)
    ]


def _top_pairs(closeness: Tensor) -> list[tuple[int, int]]:
    """The `MOST_PAIRS` pairs (a < b) of a symmetric (C, C) table with the largest values."""
    above = torch.ones_like(closeness).triu(diagonal=1).bool()
    places = above.nonzero()
    order = closeness[above].argsort(descending=True, stable=True)[:MOST_PAIRS]
    return [(a, b) for a, b in places[order].tolist()]


def _share(images: Tensor | None) -> float | None:
    return None if images is None else images.double().mean().item()


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
