"""Findings about a job that need no truth: every rule, and its limit with the reason for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from models.vitals import Vitals

#: Class names that a sentence tells; the finding itself has all.
TOLD_NAMES = 6


@dataclass(frozen=True, kw_only=True)
class Limits:
    """From where on a figure becomes a finding.

    "Drawn" figures are those of the drawn world's tuning seeds, docs/experiments.md.
    """

    #: Distance of two names over the usual distance between names. Of twelve pairs of synonyms in a
    #: sentence encoder the nearest four have 0.18 to 0.34; of 54 different names the nearest two,
    #: dog and animal, 0.44.
    name_distance: float = 0.35
    #: Distance up to which two names are the same whatever is usual: rounding leaves 1e-4.
    same_name: float = 1e-3
    #: Images with both classes over images with either. Drawn twins have 0.86 and 0.94, all other
    #: pairs at most 0.29.
    together: float = 0.6
    #: Images that two classes must fire on together before they are judged. Our choice.
    together_images: int = 10
    #: Overlap of their local views there, from which on they mean the same region. Drawn twins have
    #: 0.43 and 0.60; pairs that merely meet have up to 0.19 on average.
    same_region: float = 0.25
    #: Share of the images that an "always" starts at. Our choice: such a label says nothing.
    always: float = 0.9
    #: Images in which the teacher is sure of a class, over those that the student gives it to.
    #: Drawn classes that are there have 0.16 and more, one that is not 0 and 0.04.
    seen_of_labelled: float = 0.1
    #: If those images are also fewer than this, our choice: as many as a threshold needs, ...
    seen_images: int = 5
    #: ... or than this share of all, in a large set: there a few false sightings are certain.
    seen_share: float = 0.001
    #: Share of the images on which a background name comes first. Drawn: 0.10 to 0.16 where a tenth
    #: shows none of the classes, 0.20 and 0.22 where three tenths do. And ...
    background_share: float = 0.18
    #: ... share of those in no view of which the teacher is sure of a class: 0.15 to 0.20 against
    #: 0.25 and 0.27. Both must be reached, as far as they are known: crops that a student chose
    #: which has hardly learned show little, and a weak teacher is seldom sure.
    unseen_share: float = 0.22
    #: Share of the images of which one class is the teacher's first answer. Drawn: 0.11 to 0.13 for
    #: the most frequent of 20, 0.28 for one whose features were moved towards all images. And ...
    first_share: float = 0.25
    #: ... so many times what each class had if all came first equally often.
    first_fair_shares: float = 4.0
    #: Share of the images on which the teacher is sure. Our choice: of fewer the bias would be
    #: that of the easy images alone. Drawn: 0.87 to 0.96.
    low_entropy: float = 0.25
    #: Images behind a bias factor. Our choice: as many as a threshold needs.
    bias_images: int = 5
    #: F1 of the student's labels against those that it learned from. Drawn: 0.84 to 0.87.
    agreement: float = 0.6
    #: The same for one class. Drawn: 0.61 and more.
    class_agreement: float = 0.5
    #: Share of the images without a label. Our choice: the gaps are then the larger part.
    unlabelled: float = 0.5


LIMITS = Limits()


class Severity(StrEnum):
    """Whether somebody should do something about it."""

    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that the figures of a job say.

    Attributes:
        code: what kind of thing; docs/report.md explains each.
        severity: warnings go into the job's warnings too.
        classes: names of those it is about; empty where it is about the whole job.
        message: a sentence with the figure.
        advice: what the user can do.
    """

    code: str
    severity: Severity
    classes: tuple[str, ...]
    message: str
    advice: str

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON has it."""
        return asdict(self) | {"severity": str(self.severity), "classes": list(self.classes)}


def findings(vitals: Vitals, limits: Limits = LIMITS) -> list[Finding]:
    """Everything worth saying about a job, warnings first."""
    found = [finding for rule in RULES for finding in rule(vitals, limits)]
    return sorted(found, key=lambda finding: finding.severity is not Severity.WARNING)


def names_coincide(vitals: Vitals, limits: Limits) -> Iterator[Finding]:
    """Two names that the teacher cannot tell apart."""
    for pair in vitals.name_pairs:
        if _is_same_name(pair.distance, pair.usual, limits):
            a, b = vitals.names[pair.a], vitals.names[pair.b]
            ratio = pair.distance / pair.usual if pair.usual else 0.0
            yield Finding(
                code="names_coincide",
                severity=Severity.WARNING,
                classes=(a, b),
                message=f"{a!r} and {b!r} mean nearly the same to the teacher: their distance is "
                f"{ratio:.2f} of what is usual between the names of this job",
                advice="Keep one of the two, or give them prompts that say how they differ.",
            )


def fire_together(vitals: Vitals, limits: Limits) -> Iterator[Finding]:
    """Two classes that are seen on the same images, and perhaps in the same place."""
    same = _coinciding(vitals, limits)
    for pair in vitals.pairs:
        is_judged = pair.images >= limits.together_images and (pair.a, pair.b) not in same
        if not is_judged or pair.overlap < limits.together:
            continue
        a, b = vitals.names[pair.a], vitals.names[pair.b]
        said = (
            f"{a!r} and {b!r} are found together on {_percent(pair.overlap)} of the images that "
            f"have either ({pair.images:,} images)"
        )
        if pair.region is not None and pair.region >= limits.same_region:
            yield Finding(
                code="one_region_two_classes",
                severity=Severity.WARNING,
                classes=(a, b),
                message=f"{said}, and in the same place (their views overlap by {pair.region:.2f})",
                advice="One of them is probably not there: drop it, or give both prompts that "
                "describe the object and not the scene.",
            )
        else:
            yield Finding(
                code="found_together",
                severity=Severity.NOTE,
                classes=(a, b),
                message=f"{said}, in different places",
                advice="Fine if they belong together in your images; otherwise look at some.",
            )


def never_fires(vitals: Vitals, _limits: Limits) -> Iterator[Finding]:
    """Classes that no image carries."""
    silent = [name for name, fired in zip(vitals.names, vitals.fired, strict=True) if not fired]
    if silent:
        yield Finding(
            code="never_fires",
            severity=Severity.WARNING,
            classes=tuple(silent),
            message=f"no image is labelled {_listed(silent, 'or')}",
            advice="If your images show such a class, describe it in other words; if not, leave it "
            "out.",
        )


def always_fires(vitals: Vitals, limits: Limits) -> Iterator[Finding]:
    """Classes that nearly every image carries."""
    shares = [fired / max(vitals.num_images, 1) for fired in vitals.fired]
    for name, share in zip(vitals.names, shares, strict=True):
        if share >= limits.always:
            yield Finding(
                code="always_fires",
                severity=Severity.WARNING,
                classes=(name,),
                message=f"{name!r} is given to {_percent(share)} of the images",
                advice="Fine if nearly all of them show it; otherwise its name is too general.",
            )


def hardly_seen(vitals: Vitals, limits: Limits) -> Iterator[Finding]:
    """Classes that fire though the teacher was hardly ever sure of them, not even close up."""
    wanted = max(limits.seen_images, limits.seen_share * vitals.num_images)
    same = {class_ for pair in _coinciding(vitals, limits) for class_ in pair}
    for class_, name in enumerate(vitals.names):
        seen, fired = vitals.sightings[class_], vitals.fired[class_]
        is_rare = seen < wanted and seen < limits.seen_of_labelled * fired
        if is_rare and class_ not in same:
            yield Finding(
                code="hardly_seen",
                severity=Severity.WARNING,
                classes=(name,),
                message=f"{name!r} is given to {fired:,} images, but the teacher is sure of it in "
                f"{seen:,} of {vitals.num_images:,}, close-ups included",
                advice="Your images probably do not show it: look at some, and leave it out or "
                "describe it in other words.",
            )


def over_predicted(vitals: Vitals, limits: Limits) -> Iterator[Finding]:
    """Classes that the teacher answers far more often than others."""
    limit = max(limits.first_share, limits.first_fair_shares / max(len(vitals.names), 1))
    for name, share in zip(vitals.names, vitals.first_shares, strict=True):
        if share >= limit:
            yield Finding(
                code="over_predicted",
                severity=Severity.WARNING,
                classes=(name,),
                message=f"{name!r} is the teacher's first answer on {_percent(share)} of the "
                "images",
                advice="Fine if so many show it above all; otherwise its words are too general: "
                "describe the object in its prompts.",
            )


def none_of_the_classes(vitals: Vitals, limits: Limits) -> Iterator[Finding]:
    """How many images seem to show nothing of what was asked for."""
    signs = [
        (vitals.background_share, limits.background_share),
        (vitals.unseen_share, limits.unseen_share),
    ]
    known = [(share, limit) for share, limit in signs if share is not None]
    if not known:
        yield Finding(
            code="none_unknown",
            severity=Severity.NOTE,
            classes=(),
            message="how many images show none of the classes cannot be known: the teacher could "
            "be asked about no other names",
            advice="Set background to true in config, or name more classes.",
        )
    elif all(share >= limit for share, limit in known):
        yield Finding(
            code="none_of_the_classes",
            severity=Severity.WARNING,
            classes=(),
            message=_said_of_none(vitals),
            advice="Name what else they show, or take them out: labels on such images are false. "
            "If they do show the classes, a stronger teacher or other words are needed.",
        )


def teacher_unsure(vitals: Vitals, limits: Limits) -> Iterator[Finding]:
    """Whether the teacher knows its way in these images."""
    if vitals.low_entropy < limits.low_entropy:
        yield Finding(
            code="teacher_unsure",
            severity=Severity.WARNING,
            classes=(),
            message=f"the teacher is sure of what it sees on {_percent(vitals.low_entropy)} of the "
            f"images (entropy of at most {vitals.max_entropy:.2f} nats)",
            advice="Take a stronger teacher, or name the classes in more common words.",
        )


def thin_bias(vitals: Vitals, limits: Limits) -> Iterator[Finding]:
    """Classes whose bias rests on few images; those without any are told by phase debias."""
    counts = zip(vitals.names, vitals.bias_images, strict=True)
    thin = [name for name, count in counts if 0 < count < limits.bias_images]
    if thin:
        yield Finding(
            code="thin_bias",
            severity=Severity.NOTE,
            classes=tuple(thin),
            message=f"the bias of {_listed(thin, 'and')} was estimated on fewer than "
            f"{limits.bias_images} images",
            advice="More images make it surer; until then its labels may be too many or too few.",
        )


def student_disagrees(vitals: Vitals, limits: Limits) -> Iterator[Finding]:
    """Whether the student says what it was taught."""
    if vitals.agreement is not None and vitals.agreement < limits.agreement:
        yield Finding(
            code="student_disagrees",
            severity=Severity.WARNING,
            classes=(),
            message=f"the student's labels agree with those that it learned from by an F1 of "
            f"{vitals.agreement:.2f} only",
            advice="Train longer (train_epochs), with larger learning rates, or a larger student.",
        )
    by_class = zip(vitals.names, vitals.class_agreement, strict=True)
    odd = [name for name, f1 in by_class if f1 is not None and 0 < f1 < limits.class_agreement]
    if odd:
        yield Finding(
            code="class_disagrees",
            severity=Severity.NOTE,
            classes=tuple(odd),
            message=f"the student did not take over the labels of {_listed(odd, 'and')} "
            f"(F1 below {limits.class_agreement:.2f})",
            advice="Look at images where the two disagree: the teacher may be wrong about them.",
        )


def unlabelled(vitals: Vitals, limits: Limits) -> Iterator[Finding]:
    """How many images have no label at all."""
    share = vitals.labels_per_image[0] / max(vitals.num_images, 1)
    if share >= limits.unlabelled:
        yield Finding(
            code="unlabelled",
            severity=Severity.WARNING,
            classes=(),
            message=f"{_percent(share)} of the images have no label",
            advice="Read the scores instead, name classes that the images show, or add images.",
        )


RULES = (
    names_coincide,
    fire_together,
    never_fires,
    always_fires,
    hardly_seen,
    over_predicted,
    none_of_the_classes,
    teacher_unsure,
    student_disagrees,
    unlabelled,
    thin_bias,
)


def _said_of_none(vitals: Vitals) -> str:
    """What is known of images that show none of the classes, at least one of two shares."""
    parts = []
    if vitals.background_share is not None:
        parts.append(
            f"{_percent(vitals.background_share)} of the images look more like something else than "
            "like any of the classes"
        )
    if vitals.unseen_share is not None:
        of_what = "" if parts else " of the images"
        parts.append(
            f"in {_percent(vitals.unseen_share)}{of_what} the teacher is sure of no class, "
            "close-ups included"
        )
    return ", and ".join(parts)


def _coinciding(vitals: Vitals, limits: Limits) -> set[tuple[int, int]]:
    """Pairs of classes that `names_coincide` tells; what follows from it is not told again."""
    return {
        (pair.a, pair.b)
        for pair in vitals.name_pairs
        if _is_same_name(pair.distance, pair.usual, limits)
    }


def _is_same_name(distance: float, usual: float, limits: Limits) -> bool:
    return distance <= max(limits.name_distance * usual, limits.same_name)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _listed(names: Sequence[str], last: str) -> str:
    """`'a', 'b' and 'c'`, or the first few and how many more."""
    shown = [repr(name) for name in names[:TOLD_NAMES]]
    if len(names) > TOLD_NAMES:
        shown = [*shown, f"{len(names) - TOLD_NAMES} more"]
    return f" {last} ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))
