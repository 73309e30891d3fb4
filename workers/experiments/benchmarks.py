"""The benchmarks of the literature: how each is distributed, its splits, its class names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workers.experiments.inputs import NotUsable

#: VOC's names -> what the teacher is asked about; the released script spells out three of them.
VOC_CLASSES = {
    name: name
    for name in (
        *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
        *("dog", "horse", "motorbike", "person", "sheep", "sofa", "train"),
    )
} | {"diningtable": "dining table", "pottedplant": "potted plant", "tvmonitor": "tv monitor"}

CCD, SUPERVISED = "CCD", "full supervision"

#: How deep below the given folder a benchmark may lie: VOCdevkit/VOC2012.
DEPTH = 2


@dataclass(frozen=True)
class Benchmark:
    """One of them.

    Attributes:
        title: as the literature calls it.
        folder: name of its folder as distributed; decides where several have the landmark.
        landmark: a path that its folder has.
        images: folders of the training and of the held-out images, below it.
        truths: file or folder with the truth of each, below it.
        splits: of the truths.
        counts: images of each in the literature.
        classes: name in the truth -> name that the teacher is asked about; None: as they are.
        num_classes: how many there are.
        published: method -> mAP on the held-out images, in points.
        labelled_only: whether the literature leaves out images without any label.
    """

    title: str
    folder: str
    landmark: str
    images: tuple[str, str]
    truths: tuple[str, str]
    splits: tuple[str | None, str | None]
    counts: tuple[int, int]
    classes: Mapping[str, str] | None
    num_classes: int
    published: Mapping[str, float]
    labelled_only: bool = False

    def parts(self, folder: Path) -> list[tuple[Path, Path, str | None]]:
        """Images, truth and split of the training and the held-out part, at or below `folder`.

        Raises:
            NotUsable: the benchmark is not there.
        """
        root = self._root(folder)
        parts = zip(self.images, self.truths, self.splits, strict=True)
        return [(root / images, root / truth, split) for images, truth, split in parts]

    def _root(self, folder: Path) -> Path:
        patterns = ["/".join([*["*"] * depth, self.landmark]) for depth in range(DEPTH + 1)]
        found = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
        roots = [path.parents[len(Path(self.landmark).parts) - 1] for path in found]
        if len(roots) > 1:
            roots = [root for root in roots if root.name == self.folder]
        if len(roots) != 1:
            raise NotUsable(
                f"{folder} must hold {self.title} as it is distributed, with one "
                f"{self.landmark}; there are {len(roots)}"
            )
        return roots[0]


BENCHMARKS = {
    "voc2012": Benchmark(
        title="VOC 2012",
        folder="VOC2012",
        landmark="ImageSets/Main/val.txt",
        images=("JPEGImages", "JPEGImages"),
        truths=(".", "."),
        splits=("train", "val"),
        counts=(5_717, 5_823),
        classes=VOC_CLASSES,
        num_classes=20,
        published={CCD: 90.1, "CDUL": 88.6, "MUDAS": 88.7, "PIAA": 92.2, SUPERVISED: 90.1},
    ),
    "voc2007": Benchmark(
        title="VOC 2007",
        folder="VOC2007",
        landmark="ImageSets/Main/test.txt",
        images=("JPEGImages", "JPEGImages"),
        truths=(".", "."),
        splits=("trainval", "test"),
        counts=(5_011, 4_952),
        classes=VOC_CLASSES,
        num_classes=20,
        published={CCD: 91.0, "CDUL": 89.0, "PIAA": 92.5, "TagCLIP": 92.8, SUPERVISED: 91.3},
    ),
    "coco2014": Benchmark(
        title="COCO 2014",
        folder="coco",
        landmark="annotations/instances_val2014.json",
        images=("train2014", "val2014"),
        truths=("annotations/instances_train2014.json", "annotations/instances_val2014.json"),
        splits=(None, None),
        counts=(82_081, 40_137),
        classes=None,
        num_classes=80,
        published={CCD: 70.3, "CDUL": 69.2, "PIAA": 74.6, "TagCLIP": 68.8, SUPERVISED: 78.5},
        labelled_only=True,
    ),
    "nuswide": Benchmark(
        title="NUS-WIDE",
        folder="NUS-WIDE",
        landmark="ImageList/TestImagelist.txt",
        images=("Flickr", "Flickr"),
        truths=(".", "."),
        splits=("train", "test"),
        counts=(150_000, 60_260),
        classes=None,
        num_classes=81,
        published={CCD: 44.5, "CDUL": 44.0, "PIAA": 50.6, SUPERVISED: 50.7},
    ),
}
