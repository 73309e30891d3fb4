"""Filters and orders over the scores of all images, a block at a time, by Arrow's own loops."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from app.label_query import PATH, SCORE, LabelQuery
from workers.label_tables import Labels
from workers.stages import Stage

#: Below this a score counts as 0, of which the logarithm times 0 is 0.
TINY = pa.scalar(1e-30, pa.float32())
ONE = pa.scalar(1, pa.float32())


class Block:
    """The scores of some images, class by class, and what decides about their labels."""

    def __init__(self, labels: Labels, rows: range) -> None:
        content, width = labels.scores.block(rows)
        self._values = array("f")
        self._values.frombytes(content)
        self._columns: dict[int, Any] = {}
        self._limits = labels.limits
        self.width = width
        self.rows = len(rows)

    def scores(self, column: int) -> Any:
        if column not in self._columns:
            # A slice of an array takes half the time of Arrow's `list_element`.
            content = pa.py_buffer(self._values[column :: self.width])
            self._columns[column] = pa.Array.from_buffers(pa.float32(), self.rows, [None, content])
        return self._columns[column]

    def all_scores(self) -> Iterator[Any]:
        return map(self.scores, range(self.width))

    def has_label(self, column: int) -> Any:
        """Whether the class is a label of each image."""
        limit = self._limits[column]
        if limit is None:
            return pa.repeat(pa.scalar(False), self.rows)
        return pc.greater_equal(self.scores(column), pa.scalar(limit, pa.float64()))

    def label_counts(self) -> Any:
        counts = (self.has_label(column).cast(pa.int32()) for column in range(self.width))
        return reduce(pc.add, counts)

    def uncertainty(self) -> Any:
        """Mean binary entropy in bits; the sign comes off in the end."""
        entropies = reduce(pc.add, map(_minus_entropy, self.all_scores()))
        return pc.divide(pc.negate(entropies), pa.scalar(self.width, pa.float32()))


def measure(
    labels: Labels, query: LabelQuery, others: Mapping[Stage, Labels], *, block_bytes: int
) -> tuple[Any, Any]:
    """For every distinct image whether it is wanted, and what it is sorted by; None: not needed."""
    columns = dict(zip(labels.columns.names, labels.columns.columns, strict=True))
    kept: list[Any] = []
    values: list[Any] = []
    block_rows = max(1, block_bytes // (4 * len(columns)))
    compared = [others[Stage(stage)] for stage in query.disagree]
    for rows in labels.scores.blocks(block_rows):
        block = Block(labels, rows)
        masks = list(_masks(block, query, columns))
        if compared:
            masks.append(
                _differ(*(block if one == labels else Block(one, rows) for one in compared))
            )
        if masks:
            kept.append(reduce(pc.and_, masks))
        if query.sort != PATH:
            values.append(_sort_values(block, query, columns))
    return _joined(kept), _joined(values)


def _masks(block: Block, query: LabelQuery, columns: Mapping[str, int]) -> Iterator[Any]:
    """One for each filter of the query but the comparison of stages."""
    wanted = [columns[name] for name in query.classes]
    if query.has_bounds:
        within = [_within(scores, query) for scores in map(block.scores, wanted)]
        yield from within or [reduce(pc.or_, (_within(s, query) for s in block.all_scores()))]
    else:
        yield from map(block.has_label, wanted)
    if query.label_count is not None:
        yield pc.equal(block.label_counts(), pa.scalar(query.label_count, pa.int64()))


def _within(scores: Any, query: LabelQuery) -> Any:
    low, high = (pa.scalar(bound, pa.float32()) for bound in query.bounds)
    return pc.and_(pc.greater_equal(scores, low), pc.less_equal(scores, high))


def _differ(one: Block, other: Block) -> Any:
    """Whether the labels of two stages differ in any class; all stages have the same columns."""
    columns = range(one.width)
    return reduce(pc.or_, (pc.xor(one.has_label(c), other.has_label(c)) for c in columns))


def _sort_values(block: Block, query: LabelQuery, columns: Mapping[str, int]) -> Any:
    if query.sort_key.startswith(SCORE):
        return block.scores(columns[query.sort_key.removeprefix(SCORE)])
    return block.uncertainty()


def _minus_entropy(scores: Any) -> Any:
    return pc.add(_p_log_p(scores), _p_log_p(pc.subtract(ONE, scores)))


def _p_log_p(probs: Any) -> Any:
    return pc.multiply(probs, pc.log2(pc.max_element_wise(probs, TINY)))


def _joined(parts: Sequence[Any]) -> Any:
    return pa.concat_arrays(parts) if parts else None
