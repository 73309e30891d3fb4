"""The health report of a job as JSON; what each figure means stands in docs/report.md."""

from typing import Literal

from pydantic import Field

from app.schemas import Reply


class Finding(Reply):
    """One thing that the figures of a job say; docs/report.md explains each code."""

    code: str
    severity: Literal["warning", "note"]
    classes: list[str] = Field(description="The classes that it is about.")
    message: str
    advice: str = Field(description="What can be done about it.")


class ClassBias(Reply):
    """How sure the teacher is of a class where it is sure."""

    factor: float = Field(description="Labels are divided by it; 1 corrects nothing.")
    images: int = Field(description="Images behind the factor.")


class ClassHealth(Reply):
    """The figures of one class; counts are of distinct images."""

    name: str
    bias: ClassBias
    first_share: float = Field(description="Share of images of which the teacher names it first.")
    sightings: int = Field(description="Images with a view in which the teacher is sure of it.")
    positives: int = Field(description="Images with a pseudo-label of 0.5 or more.")
    labelled: int = Field(description="Images that the student gives it to.")
    threshold: float | None
    agreement: float | None = Field(description="F1 of the student's labels against the taught.")
    histogram: list[int] = Field(description="The student's scores in 20 bars over [0, 1].")


class ClassPair(Reply):
    """Two classes that fire on the same images."""

    classes: list[str]
    overlap: float = Field(description="Images with both over images with either.")
    images: int = Field(description="Images with both.")
    region: float | None = Field(description="Mean overlap of their local views on those.")


class NearNames(Reply):
    """Two names that lie near each other for the teacher."""

    classes: list[str]
    distance: float
    usual: float = Field(description="Median distance between two names of the job.")


class LowEntropy(Reply):
    """On how many images the teacher is sure."""

    share: float
    max_nats: float


class ReportFormat(Reply):
    """What kind of document this is."""

    name: str
    version: int


class ReportImages(Reply):
    """The images that a report is about."""

    files: int
    distinct: int = Field(description="That differ in their bytes; every figure is about these.")


class HealthReport(Reply):
    """What can be said of a job without knowing the truth."""

    format: ReportFormat
    job_id: str
    images: ReportImages
    low_entropy: LowEntropy
    sure: float = Field(description="What the teacher gives a class where it is sure, on average.")
    background_share: float | None = Field(
        description="Share of images on which a background name comes first; null: unknown."
    )
    unseen_share: float | None = Field(
        description="Share of images in no view of which the teacher is sure of a class; null: "
        "too few names to tell."
    )
    agreement: float | None
    labels_per_image: list[int] = Field(
        description="Images with 0, 1, 2, ... labels; the last has all with more."
    )
    classes: list[ClassHealth] = Field(description="In the order in which they were given.")
    together: list[ClassPair]
    nearest_names: list[NearNames]
    findings: list[Finding] = Field(description="Warnings first.")
