"""One pass of a student over the files of a folder: rows as the service has them, in a stream.

While the student is at work on a batch, the next images are inspected by child processes and
decoded by threads; of the images no more than that is in memory.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.data import ImageChanged, ImageFiles, in_order
from models.images import UnusableImage, decode, resize, to_tensor
from models.portable import LoadedStudent, NotAStudent, load_student
from workers.files import WEIGHTS, DataFolder, read_json
from workers.label_rows import label_row
from workers.listing import image_id_of, is_bad_image
from workers.outcomes import REQUEST
from workers.paths import FileRefused, FoundFile
from workers.sandbox import Inspected, Verdict
from workers.thresholds import STUDENT_JSON, VersionDamaged, read_version

#: Images of one forward pass when a student answers on new images.
PREDICT_BATCH = 16

_STUDENT_ID = re.compile(r"stu_[0-9A-Za-z]{1,64}")

Row = dict[str, Any]


class PredictFailed(Exception):
    """There is nothing to predict with, or nothing to predict on."""


@dataclass(frozen=True)
class LabellingStudent:
    """A student and what makes labels of its scores."""

    network: LoadedStudent
    #: The classes in the order of a row.
    names: Sequence[str]
    limits: Sequence[float | None]
    thresholds_version: int
    #: For each class the channel of the network that has its score.
    channels: Sequence[int]

    def row(self, file: FoundFile, image: Inspected, scores: Sequence[float]) -> Row:
        """One row, as the service has it."""
        own = [scores[channel] for channel in self.channels]
        cells = list(zip(self.names, own, self.limits, strict=True))
        return label_row(image_id_of(file, image), file.name, cells, self.thresholds_version)


def open_student(given: str, data: DataFolder) -> LabellingStudent:
    """A student by the path of its file, or by its id in the data folder.

    Raises:
        PredictFailed: there is no such student, or the file is none.
    """
    is_id = _STUDENT_ID.fullmatch(given) and not Path(given).exists()
    path = data.student(given) / WEIGHTS if is_id else Path(given)
    if not path.is_file():
        missing = f"student {given} in {data.root}" if is_id else f"file {given}"
        raise PredictFailed(f"there is no {missing}; give a {WEIGHTS} or a stu_ id")
    try:
        network, header = load_student(path)
        names = [class_["name"] for class_ in header["classes"]]
        limits, version = header["thresholds"], header.get("thresholds_version", 1)
        by_name: Mapping[str, float | None] = dict(zip(names, limits, strict=True))
        if is_id and path.with_name(STUDENT_JSON).exists():  # its file is as the job made it
            found = read_version(data, given)
            by_name, version = found.values, found.version
        asked = _asked_order(given, names, data) if is_id else names
        limits = [by_name[name] for name in asked]
    except (NotAStudent, VersionDamaged, KeyError) as error:
        raise PredictFailed(f"{path}: {error}") from error
    return LabellingStudent(network, asked, limits, version, [names.index(one) for one in asked])


def _asked_order(student_id: str, names: Sequence[str], data: DataFolder) -> Sequence[str]:
    """The classes as the student's job was asked for them.

    Its file has them in the order of their names: jobs that differ in nothing else share it.
    """
    request = data.job(student_id.replace("stu_", "job_", 1)) / REQUEST
    try:
        asked = [class_["name"] for class_ in read_json(request)["request"]["classes"]]
    except FileNotFoundError:
        return names
    return asked if sorted(asked) == sorted(names) else names


class FolderRun:
    """One pass over the files of a folder.

    Args:
        student: who answers.
        verdicts: every file in the order of the rows, with what its bytes are.
        threads: of decoding.
    """

    def __init__(
        self,
        student: LabellingStudent,
        verdicts: Iterable[tuple[FoundFile, Verdict]],
        *,
        threads: int,
    ) -> None:
        self._student, self._verdicts, self._threads = student, verdicts, threads
        self._paths: list[Path | bytes] = []
        self._digests: list[str] = []
        self._files = ImageFiles(self._paths, self._digests)
        self._contents: dict[bytes, int] = {}
        #: Files that wait for their scores, in order.
        self._waiting: deque[tuple[FoundFile, Inspected, int]] = deque()
        #: Scores by content, a batch each, or why there are none.
        self._scores: list[Tensor | FileRefused] = []
        self.rows = 0
        #: Images whose bytes another one has too.
        self.duplicates = 0
        #: Files that have no row.
        self.skipped: list[tuple[FoundFile, FileRefused]] = []

    @property
    def has_bad_images(self) -> bool:
        """Whether an image has no row: a file that is none does not count."""
        return any(is_bad_image(file, refusal) for file, refusal in self.skipped)

    def batches(self) -> Iterator[list[Row]]:
        """The rows in the order of the files, as soon as they are known."""
        ahead = 2 * PREDICT_BATCH
        views = in_order(self._view, self._new_contents(), threads=self._threads, ahead=ahead)
        with closing(views):
            while batch := _take(views, PREDICT_BATCH):
                self._score(batch)
                yield self._settled()
        yield self._settled()

    def _new_contents(self) -> Iterator[int]:
        """Numbers of images whose bytes were not there before; notes every file on the way."""
        for file, verdict in self._verdicts:
            if isinstance(verdict, FileRefused):
                self.skipped.append((file, verdict))
                continue
            key = bytes.fromhex(verdict.sha256)[:16]
            content = self._contents.setdefault(key, len(self._contents))
            self._waiting.append((file, verdict, content))
            if content == len(self._paths):
                self._paths.append(file.path)
                self._digests.append(verdict.sha256)
                yield content
            else:
                self.duplicates += 1

    def _view(self, content: int) -> Tensor | FileRefused:
        side = self._student.network.size
        try:
            return to_tensor(resize(decode(self._files.read(content), target=side), side))
        except (ImageChanged, UnusableImage) as error:  # it was usable a moment ago
            return FileRefused(error.code, str(error))

    def _score(self, views: Sequence[Tensor | FileRefused]) -> None:
        network = self._student.network
        usable = [view for view in views if isinstance(view, Tensor)]
        if usable:
            with torch.inference_mode():
                probs = iter(network(network.prepare(torch.stack(usable))).sigmoid())
        self._scores += [next(probs) if isinstance(view, Tensor) else view for view in views]

    def _settled(self) -> list[Row]:
        """Rows of the files that wait no longer."""
        rows = []
        while self._waiting and self._waiting[0][2] < len(self._scores):
            file, image, content = self._waiting.popleft()
            scores = self._scores[content]
            if isinstance(scores, FileRefused):
                self.skipped.append((file, scores))
            else:
                rows.append(self._student.row(file, image, scores.tolist()))
        self.rows += len(rows)
        return rows


def _take(views: Iterator[Tensor | FileRefused], count: int) -> list[Tensor | FileRefused]:
    return [view for _, view in zip(range(count), views, strict=False)]
