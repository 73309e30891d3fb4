"""Pages of filtered and sorted labels over HTTP, beside plain pages and a look at all rows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

from app.replies import read_marked, write_marked
from benchmarks.evaluation import CLASSES, IMAGES, write_case
from benchmarks.load import line_to, own_api, timed
from benchmarks.scored_job import JOB
from benchmarks.simulate import own_valkey, percentile
from workers.files import DataFolder, read_json
from workers.jobs import Kind, Lane, Phase
from workers.store import Store

PAGE = 100
#: Pages of each query that are looked at, wherever they lie.
PAGES = 40
#: Rows from one to the next, modulo all: a prime, so that they lie everywhere.
STEP = 38_867
QUERIES = [
    {"sort": "-uncertainty"},
    {"sort": "-score:class 07"},
    {"sort": "score:class 70", "class": "class 03"},
    {"class": "class 03", "min_score": 0.4, "max_score": 0.6},
    {"min_score": 0.99, "sort": "-uncertainty"},
    {"label_count": 40},
    {"disagree": "teacher,student", "sort": "-uncertainty"},
]
Times = list[float]


def bench_label_pages(folder: Path, _threads: int) -> tuple[str, str, str]:
    """A row of the table: what, seen, aim."""
    write_case(folder / "data")
    with own_valkey() as client:
        url = str(client.connection_pool.connection_kwargs["path"])
        _record_job(Store(client), DataFolder(folder / "data"))
        with own_api(folder, f"unix://{url}") as service:
            headers = service.headers()
            plain = list(_pages(service.address, headers, {}))
            found = [list(_pages(service.address, headers, query)) for query in QUERIES]
            scan = _scan_seconds(service.address, headers)
    first, every = [times[0] for times in found], [s for times in found for s in times]
    what = f"pages of {PAGE} labels over HTTP, {len(QUERIES)} queries, {IMAGES:,} x {CLASSES}"
    others = f"plain pages p95 {_ms(percentile(plain[1:], 95))}; all rows as NDJSON {scan:.1f} s"
    slowest = f"the first of a query at most {_ms(max(first))}"
    seen = f"p95 {_ms(percentile(every, 95))}, {slowest} ({others})"
    return what, seen, "p95 300 ms"


def _record_job(store: Store, data: DataFolder) -> None:
    """The job of the files as one that has succeeded."""
    result = read_json(data.job(JOB) / "result.json")
    request = read_json(data.job(JOB) / "request.json")["request"]
    names: dict[str, list[str]] = {}
    for phase, _, name in result["outputs"]:
        names.setdefault(phase, []).append(name)
    phases = [Phase(phase, Lane.METHOD, units=len(found)) for phase, found in names.items()]
    store.create(Kind.JOB, JOB, request=request, phases=phases)
    facts = {**result["facts"], "shard_images": 1000}
    while held := store.claim(Lane.METHOD, worker="hand", nonce="n0"):
        store.complete(held, output=names[held.phase][held.unit], done=0, facts=facts)


def _pages(address: str, headers: dict[str, str], query: dict[str, object]) -> Iterator[float]:
    """Seconds of the first page of a query, and of pages anywhere in it."""
    cursor = None
    with line_to(address) as line:
        for n in range(PAGES):
            asked = urlencode({**query, "limit": PAGE, **({"cursor": cursor} if cursor else {})})
            page, seconds = timed(line, "GET", f"/v1/jobs/{JOB}/labels?{asked}", headers)
            yield seconds
            first = cursor or page["next_cursor"]
            if first is None:
                return
            _, *rest = read_marked("in", first, 3)
            cursor = write_marked("in", n * STEP % page["total"], *rest)


def _scan_seconds(address: str, headers: dict[str, str]) -> float:
    with line_to(address) as line:
        started = time.perf_counter()
        headers = {**headers, "Accept": "application/x-ndjson"}
        line.request("GET", f"/v1/jobs/{JOB}/labels", headers=headers)
        answer = line.getresponse()
        while answer.read(1 << 20):
            pass
        return time.perf_counter() - started


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
