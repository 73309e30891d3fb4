"""The audit log on disk: lines that stay, and pages of them from the newest on."""

import asyncio
import errno
import json
import stat
import threading

import pytest

from app import audit
from app.audit import Audit, AuditLog
from app.errors import Problem
from workers.files import DataFolder


@pytest.fixture
def data(tmp_path):
    folder = DataFolder(tmp_path)
    folder.create()
    return folder


def pages(log, limit):
    cursor, found = None, []
    while True:
        page, cursor = log.page(cursor, limit)
        found.append([entry["n"] for entry in page])
        if cursor is None:
            return found


@pytest.mark.parametrize("block", [7, 1 << 16])
def test_pages_go_from_the_newest_to_the_oldest_across_months(data, monkeypatch, block):
    monkeypatch.setattr(audit, "BLOCK", block)
    for month, numbers in (("2026-01", range(3)), ("2026-02", range(3, 8))):
        lines = "".join(json.dumps({"n": n, "x": "y" * n}) + "\n" for n in numbers)
        (data.audit / f"{month}.ndjson").write_text(lines)
    log = AuditLog(data)

    assert pages(log, 3) == [[7, 6, 5], [4, 3, 2], [1, 0]]
    assert pages(log, 8) == [list(range(7, -1, -1))]
    assert pages(log, 1) == [[n] for n in range(7, -1, -1)]


def test_what_is_added_meanwhile_shifts_no_page(data):
    log = AuditLog(data)
    for n in range(4):
        log.append({"n": n})

    first, cursor = log.page(None, 2)
    log.append({"n": 9})
    second, end = log.page(cursor, 2)

    assert [entry["n"] for entry in first + second] == [3, 2, 1, 0]
    assert end is None


def test_many_at_once_are_all_there_and_whole(data):
    logs = [AuditLog(data), AuditLog(data)]  # two processes
    threads = [
        threading.Thread(target=logs[n % 2].append, args=({"n": n, "x": "y" * 500},))
        for n in range(40)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    found, _ = logs[0].page(None, 100)
    assert sorted(entry["n"] for entry in found) == list(range(40))
    [file] = data.audit.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_line_that_a_power_cut_tore_is_left_out(data):
    log = AuditLog(data)
    log.append({"n": 1})
    [file] = data.audit.iterdir()
    with file.open("ab") as handle:
        handle.write(b'{"n": 2')

    assert pages(log, 10) == [[1]]


def test_a_torn_line_takes_no_other_along(data):
    log = AuditLog(data)
    log.append({"n": 1})
    [file] = data.audit.iterdir()
    with file.open("ab") as handle:
        handle.write(b'{"n": 2')

    log.append({"n": 3})

    assert pages(log, 10) == [[3, 1]]


def test_every_line_that_the_disk_refused_is_told_to_who_wrote_it(data, monkeypatch):
    log, told, begun = AuditLog(data), [], threading.Event()

    def refuse(handle, line):
        begun.set()
        while len(log._waiting) < 3 and not told:  # the others come meanwhile
            pass
        raise OSError(errno.ENOSPC, "full")

    def add(number):
        try:
            log.append({"n": number})
        except OSError as error:
            told.append((number, error.errno))

    monkeypatch.setattr(audit, "_write_whole", refuse)
    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    threads[0].start()
    assert begun.wait(10)
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(told) == [(number, errno.ENOSPC) for number in range(4)]
    assert pages(log, 10) == [[]]


def test_a_change_that_ends_in_a_fault_of_ours_has_a_line(data):
    async def broken(scope, receive, send):
        raise RuntimeError

    scope = {"type": "http", "method": "DELETE", "path": "/v1/jobs/job_1", "state": {}}
    with pytest.raises(RuntimeError):
        asyncio.run(Audit(broken, AuditLog(data))(scope, None, None))

    [entry] = AuditLog(data).page(None, 10)[0]
    assert (entry["status"], entry["outcome"]) == (500, "failed")


def test_nothing_written_is_an_empty_page(data):
    assert AuditLog(data).page(None, 10) == ([], None)


@pytest.mark.parametrize("cursor", ["x", "2026-01", "2026-01:x", "../x:1", ""])
def test_a_cursor_of_another_list_is_refused(data, cursor):
    with pytest.raises(Problem, match="next_cursor"):
        AuditLog(data).page(cursor, 10)
