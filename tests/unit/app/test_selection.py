"""Filters and orders of labels against the same done image by image."""

import math
import random
import threading
from array import array
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from app import selection
from app.label_query import LabelQuery
from app.selection import Orders, find_images
from workers.label_tables import Columns, Labels, Table
from workers.stages import Stage

NAMES = ["zebra", "ant", "bee"]
#: Columns of the files are ant, bee, zebra.
COLUMNS = Columns(NAMES, [2, 0, 1], ["ant", "bee", "zebra"])
SHARD, DISTINCT = 7, 40
LIMITS = {Stage.STUDENT: [0.5, None, 0.3], Stage.PSEUDO: [1.0, 1.0, 1.0]}


@pytest.fixture(scope="module")
def stages(tmp_path_factory) -> dict[Stage, Labels]:
    """Two stages of 60 images, 40 distinct, with many equal scores; the first in shards."""
    folder = tmp_path_factory.mktemp("job")
    chance = random.Random(5)
    content = [*range(DISTINCT), *(chance.randrange(DISTINCT) for _ in range(20))]
    rows = [{"image_id": f"img_{i}", "path": f"{i}", "content": c} for i, c in enumerate(content)]
    manifest = folder / "manifest.parquet"
    pq.write_table(pa.Table.from_pylist(rows), manifest, row_group_size=9)
    steps = torch.tensor([0, 0.1, 0.3, 0.5, 0.9, 1])
    drawn = {stage: torch.randint(6, (DISTINCT, 3), generator=seeded(stage)) for stage in LIMITS}
    return {
        stage: Labels(manifest, COLUMNS, table(folder / stage, steps[drawn[stage]]), limits)
        for stage, limits in LIMITS.items()
    }


def seeded(stage: Stage) -> torch.Generator:
    return torch.Generator().manual_seed(len(stage))


def table(folder: Path, scores: torch.Tensor) -> Table:
    folder.mkdir()
    shards = torch.split(scores, SHARD if folder.name == Stage.STUDENT else DISTINCT)
    files = [folder / f"{i}.safetensors" for i in range(len(shards))]
    for file, shard in zip(files, shards, strict=True):
        save_file({"probs": shard.clone()}, file)
    return Table(files, SHARD if len(files) > 1 else DISTINCT, "probs")


def wanted(row: dict, query: LabelQuery, labels: dict[Stage, set[str]]) -> bool:
    """What the query says of one image, read word by word."""
    own = labels[Stage.STUDENT]
    low, high = query.bounds
    within = {name for name, score in row["scores"].items() if low <= score <= high}
    tests = [
        not query.classes or set(query.classes) <= (within if query.has_bounds else own),
        not query.has_bounds or bool(query.classes) or bool(within),
        query.label_count in (None, len(own)),
        not query.disagree or labels[Stage.STUDENT] != labels[Stage.PSEUDO],
    ]
    return all(tests)


def sort_key(row: dict, query: LabelQuery) -> float:
    sign = -1 if query.is_descending else 1
    return sign * row["scores"].get(query.sort_key.removeprefix("score:"), 0)


FILTERS = [
    {},
    {"classes": ("zebra",)},
    {"classes": ("zebra", "ant")},
    {"classes": ("bee",)},
    {"classes": ("bee",), "min_score": 0.3},
    {"classes": ("bee", "ant"), "max_score": 0.5},
    {"min_score": 0.9},
    {"max_score": 0.0},
    {"min_score": 0.3, "max_score": 0.3},
    {"label_count": 0},
    {"label_count": 2},
    {"disagree": (Stage.PSEUDO, Stage.STUDENT)},
    {"disagree": (Stage.STUDENT, Stage.PSEUDO), "label_count": 1, "max_score": 0.1},
]
SORTS = ["path", "score:zebra", "-score:bee"]


@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize("sort", SORTS)
def test_a_query_finds_what_a_look_at_each_image_finds(monkeypatch, stages, filters, sort):
    monkeypatch.setattr(selection, "BLOCK_BYTES", 60)  # five images
    query = LabelQuery(**filters, sort=sort)
    labels = stages[Stage.STUDENT]
    per_stage = {stage: one.read(0, 100) for stage, one in stages.items()}

    found = find_images(labels, query, stages)

    rows = per_stage[Stage.STUDENT]
    kept = [
        i
        for i, row in enumerate(rows)
        if wanted(row, query, {s: set(per_stage[s][i]["labels"]) for s in stages})
    ]
    # Python's sort is stable: images that are equal stay in their order.
    assert list(found) == sorted(kept, key=lambda i: sort_key(rows[i], query))


def entropy(scores) -> float:
    parts = (p * math.log2(p) for score in scores for p in (score, 1 - score) if p)
    return -sum(parts) / len(scores)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_uncertainty_is_the_mean_binary_entropy(stages, sign):
    labels = stages[Stage.STUDENT]
    query = LabelQuery(sort="uncertainty" if sign == 1 else "-uncertainty")

    found = find_images(labels, query, {})

    rows = [tuple(row["scores"].values()) for row in labels.read(0, 100)]
    values = [sign * entropy(rows[i]) for i in found]
    assert sorted(found) == list(range(60))
    assert all(b > a - 1e-6 for a, b in pairwise(values))  # of float32 sums
    assert all(a < b for a, b in pairwise(found) if rows[a] == rows[b])


def test_a_bound_includes_the_score_that_a_row_shows(tmp_path, stages):
    # 0.9 as float32 is 0.89999998.
    scores = table(tmp_path / "x", torch.full((DISTINCT, 3), 0.9))
    labels = Labels(stages[Stage.STUDENT].manifest, COLUMNS, scores, LIMITS[Stage.STUDENT])

    assert len(find_images(labels, LabelQuery(min_score=0.9), {})) == 60
    assert len(find_images(labels, LabelQuery(max_score=0.9), {})) == 60
    assert len(find_images(labels, LabelQuery(min_score=0.91), {})) == 0


def test_rows_come_in_the_order_of_the_query(stages):
    query = LabelQuery(sort="-score:ant")
    labels = stages[Stage.STUDENT]
    ordered = Labels(
        labels.manifest,
        COLUMNS,
        labels.scores,
        labels.limits,
        order=find_images(labels, query, {}),
    )

    rows = ordered.read(0, 60)

    scores = [row["scores"]["ant"] for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert rows[10:30] == ordered.read(10, 30)
    assert [row["image_id"] for batch in ordered.batches() for row in batch] == [
        row["image_id"] for row in rows
    ]


def test_the_orders_that_are_kept_take_no_more_than_they_may():
    found = []

    def find() -> array:
        found.append(1)
        return array("I", range(10))  # 40 bytes

    orders = Orders(max_bytes=100)
    for key in ("a", "b", "a", "c", "a", "b"):
        orders.get(key, find)

    # c throws out b, which was asked for longest ago; b is found again.
    assert len(found) == 4


def test_many_who_ask_the_same_at_once_are_answered_by_one_search():
    orders, found, begun, go_on = Orders(), [], threading.Event(), threading.Event()

    def find() -> array:
        found.append(1)
        begun.set()
        assert go_on.wait(10)
        return array("I", [1])

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(orders.get, "a", find)
        assert begun.wait(10)
        others = [pool.submit(orders.get, "a", find) for _ in range(2)]
        # What is other is found meanwhile.
        assert pool.submit(orders.get, "b", lambda: array("I", [2])).result(10)[0] == 2
        go_on.set()
        assert {one.result(10)[0] for one in (first, *others)} == {1}
    assert len(found) == 1


def test_a_search_that_fails_leaves_the_next_one_free():
    orders = Orders()
    with pytest.raises(ZeroDivisionError):
        orders.get("a", lambda: 1 // 0)

    assert orders.get("a", lambda: array("I", [1]))[0] == 1


def test_an_order_too_large_to_keep_is_found_each_time():
    orders = Orders(max_bytes=8)
    found = [orders.get("a", lambda: array("I", range(10))) for _ in range(2)]
    assert found[0] is not found[1]
    assert found[0] == found[1]
