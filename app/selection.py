"""Which images of a job a query wants, in which order: found once, and kept for its pages."""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from workers.rows import manifest_column

if TYPE_CHECKING:
    from app.label_query import LabelQuery
    from workers.label_tables import Labels
    from workers.stages import Stage

#: Bytes of scores that are looked at together.
BLOCK_BYTES = 4 << 20
#: Bytes that the orders may take which a process keeps: those of 160 queries on 100,000 images.
KEPT_BYTES = 64 << 20


class Orders:
    """The orders of images that were asked for last, as long as they fit."""

    def __init__(self, max_bytes: int = KEPT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._orders: OrderedDict[str, array[int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        #: Of each order that is looked for: many who ask the same at once are answered by one.
        self._searches: dict[str, threading.Lock] = {}

    def get(self, key: str, find: Callable[[], array[int]]) -> array[int]:
        """The order of this key, found now unless it is kept."""
        order = self._kept(key)
        if order is not None:
            return order
        with self._lock:
            search = self._searches.setdefault(key, threading.Lock())
        with search:
            try:
                order = self._kept(key)
                return self._keep(key, find()) if order is None else order
            finally:
                self._searches.pop(key, None)

    def _kept(self, key: str) -> array[int] | None:
        with self._lock:
            if key in self._orders:
                self._orders.move_to_end(key)
            return self._orders.get(key)

    def _keep(self, key: str, order: array[int]) -> array[int]:
        with self._lock:
            self._bytes += _size(order) - _size(self._orders.pop(key, array("I")))
            self._orders[key] = order
            while self._bytes > self._max_bytes:
                self._bytes -= _size(self._orders.popitem(last=False)[1])
        return order


#: Those of this process.
ORDERS = Orders()


def find_images(labels: Labels, query: LabelQuery, others: Mapping[Stage, Labels]) -> array[int]:
    """Positions in the manifest of the images that `query` wants, in its order.

    `others` are the stages that the query compares.
    """
    import pyarrow as pa  # it loads numpy, for which a process that starts has no use
    import pyarrow.compute as pc

    from app.score_blocks import measure

    contents = manifest_column(labels.manifest, "content")
    images = pa.arange(0, len(contents))
    kept, values = measure(labels, query, others, block_bytes=BLOCK_BYTES)
    if kept is not None:
        images = images.filter(kept.take(contents))
    if values is not None:
        values = values.take(contents.take(images))
        direction = "descending" if query.is_descending else "ascending"
        images = images.take(pc.array_sort_indices(values, order=direction))  # it is stable
    order = array("I")
    order.frombytes(memoryview(images.cast(pa.uint32()).buffers()[1])[: 4 * len(images)])
    return order


def _size(order: array[int]) -> int:
    return len(order) * order.itemsize
