"""The tests can fail: a bug that is put back into the code turns those red that say so."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

import pytest

from tests.serving import ROOT

CLAIMS = "tests/integration/test_store_claims.py::"
FILES = "tests/unit/workers/test_files.py::"
STALLS = "tests/integration/test_stalls.py::"
WORKER = "tests/integration/test_worker.py::"
HELD = "tests/faults/test_held_workers.py::"
KILLED = "tests/faults/test_killed_phases.py::"
ORDER = "tests/faults/test_order_of_writes.py::"
SCHEDULES = "tests/faults/test_schedules.py::"
ANSWERS = "tests/faults/test_lost_answers.py::"
DISK = "tests/faults/test_disk.py::"
REAPER = "tests/integration/test_reaper.py::"
SHARES = "tests/integration/test_shares.py::"
PUBLISHING = "tests/faults/test_publishing.py::"
#: A folder comes into sight.
RENAMED = """\
            fault("publish.before_rename", about, files=staging)
            while not (is_ours := self._renamed(staging, final)) and staging.exists():
                pass  # a damaged folder has made way
"""
#: A test that a bug lets hang is red too, after so many seconds.
PATIENCE = 60
PLACES = ("app", "workers", "models", "demo", "benchmarks", "tests", "pyproject.toml")


@dataclass(frozen=True)
class Bug:
    """A mistake that somebody could make, and the tests that would tell."""

    name: str
    file: str
    right: str
    wrong: str
    red: tuple[str, ...]


BUGS = (
    Bug(
        "the nonce is not compared",
        "workers/scripts/prelude.lua",
        "if held[1] == nonce then return held[2] end",
        "if held[1] then return held[2] end",
        (
            f"{CLAIMS}test_a_claim_that_has_ended_can_write_nothing",
            f"{SCHEDULES}test_fifty_schedules_break_no_invariant",
            f"{HELD}test_a_worker_that_comes_back_while_another_has_its_unit_ends_itself",
        ),
    ),
    Bug(
        "the lease is not looked at",
        "workers/scripts/requeue.lua",
        "if not id or not has_ended(unit) then return false end",
        "if not id then return false end",
        (
            f"{CLAIMS}test_a_lease_that_runs_is_not_taken",
            f"{SCHEDULES}test_fifty_schedules_break_no_invariant",
        ),
    ),
    Bug(
        "a refused nonce is not minded",
        "workers/worker.py",
        "if answer is Renewal.FENCED and not self._over.is_set():",
        "if answer is None:",
        (
            f"{STALLS}test_a_refused_nonce_ends_the_process",
            f"{HELD}test_a_worker_that_comes_back_while_another_has_its_unit_ends_itself",
        ),
    ),
    Bug(
        "who has lost the last unit writes how the job ended",
        "workers/worker.py",
        "if not is_last or self.store.renew(claim, done=finished.done) is Renewal.FENCED:",
        "if not is_last:",
        (f"{STALLS}test_only_who_still_has_the_last_unit_writes_how_the_job_ended",),
    ),
    Bug(
        "a folder is renamed before it is durable",
        "workers/files.py",
        "            seal(staging, final.name, about)\n"
        "            make_folder(final.parent)\n"
        f"{RENAMED}",
        "            make_folder(final.parent)\n"
        f"{RENAMED}"
        "            seal(final, final.name, about)\n",
        (f"{ORDER}test_a_folder_is_durable_before_it_is_visible_and_then_its_name_is",),
    ),
    Bug(
        "the name of a folder is not made durable",
        "workers/files.py",
        '            fault("publish.after_rename", about, files=final)\n'
        "            sync_folder(final.parent)\n",
        "",
        (f"{ORDER}test_a_folder_is_durable_before_it_is_visible_and_then_its_name_is",),
    ),
    Bug(
        "a file replaces the one before without being durable",
        "workers/durable.py",
        "        file.flush()\n        os.fsync(file.fileno())\n",
        "",
        (f"{ORDER}test_a_json_file_is_durable_before_it_replaces_the_one_before",),
    ),
    Bug(
        "digests are not compared",
        "workers/durable.py",
        'return bool(hashlib.file_digest(file, "sha256").hexdigest() == entry["sha256"])',
        "return True",
        (f"{FILES}test_a_damaged_folder_is_not_accepted_and_made_anew",),
    ),
    Bug(
        "an output is written in its final place",
        "workers/files.py",
        "        with self.staging(nonce) as staging:\n"
        '            fault("publish.before_data", _about(final))\n',
        "        final.mkdir(parents=True, exist_ok=True)\n"
        "        with self.staging(nonce) as staging:\n"
        '            fault("publish.before_data", _about(final))\n',
        (f"{PUBLISHING}test_a_kill_inside_a_publication_tears_nothing",),
    ),
    Bug(
        "the optimizer is not restored",
        "workers/epochs.py",
        "        training.restore(*(load_file(folder / STATE) for folder in folders))\n",
        "        training.student.load_state_dict(load_file(folders[0] / STATE))\n",
        (f"{KILLED}test_a_kill_in_a_phase_costs_its_unit_and_no_byte",),
    ),
    Bug(
        "a lost attempt is not counted",
        "workers/scripts/requeue.lua",
        "elseif attempts >= SETTINGS.max_attempts and give_up == '1' then",
        "elseif false then",
        (f"{CLAIMS}test_a_lost_unit_is_tried_three_times_then_its_record_fails",),
    ),
    Bug(
        "a drained unit counts as lost",
        "workers/worker.py",
        "return self._cancelled(claim)\n        self.store.give_back(claim)\n",
        "return self._cancelled(claim)\n        self.store.release(claim.worker)\n",
        (f"{HELD}test_a_drained_worker_ends_by_itself_and_no_attempt_is_counted",),
    ),
    Bug(
        "nobody looks whether progress is made",
        "workers/worker.py",
        "is_stalled = time.monotonic() - self._moved_at > limit",
        "is_stalled = False",
        (f"{STALLS}test_a_unit_without_progress_ends_its_process",),
    ),
    Bug(
        "a cancel is not heard",
        "workers/worker.py",
        "        if self.is_cancelled or self._is_draining():\n",
        "        if self._is_draining():\n",
        (f"{WORKER}test_a_cancelled_job_stops_within_a_batch_and_publishes_nothing_more",),
    ),
    Bug(
        "an end is forgotten when the API dies before it is on disk",
        "workers/scripts/course.lua",
        "  if to ~= 'succeeded' and not kept then redis.call('SADD', UNKEPT, id) end\n",
        "",
        (
            f"{REAPER}test_an_end_that_nobody_wrote_is_written_until_the_disk_has_it",
            f"{SCHEDULES}test_fifty_schedules_break_no_invariant",
        ),
    ),
    Bug(
        "an end that Redis forgot does not stand",
        "workers/worker.py",
        "if ending is not None and ending.status is Status.FAILED:",
        "if ending is None:",
        (f"{ANSWERS}test_an_end_that_redis_forgot_stands",),
    ),
    Bug(
        "a claim whose answer is lost is asked for anew",
        "workers/worker.py",
        "return self._insist(partial(claim, worker=self.name, nonce=nonce))",
        "return self._insist(\n"
        "            lambda: claim(worker=self.name, nonce=secrets.token_hex(16))\n"
        "        )",
        (f"{ANSWERS}test_a_unit_is_done_once_all_the_same",),
    ),
    Bug(
        "the outputs of others are read unseen",
        "workers/units.py",
        "        if not self.folder.is_complete(path):\n            logger",
        "        if not path.exists():\n            logger",
        (f"{DISK}test_with_everything_damaged_a_job_begins_anew",),
    ),
    Bug(
        "a unit that comes back is charged again",
        "workers/scripts/shares.lua",
        "  if held[1] then return end\n",
        "",
        (f"{SHARES}test_a_unit_that_comes_back_goes_first_and_is_charged_once",),
    ),
    Bug(
        "who comes late is served until it has had as much as all before",
        "workers/scripts/shares.lua",
        "    redis.call('SET', virtual_key(lane), tag)\n",
        "",
        (f"{SHARES}test_who_was_away_has_neither_credit_nor_debt",),
    ),
)


def names(bugs):
    return [bug.name.replace(" ", "-") for bug in bugs]


def run(tests, tree, patience=PATIENCE):
    """Which of the tests are red in a tree."""
    limit = (f"--timeout={patience}", "-o", "timeout_func_only=true")
    options = ("-q", "-p", "no:cacheprovider", "-rf", *limit)
    command = [sys.executable, "-m", "pytest", *options, *tests]
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode in {0, 1}, done.stdout + done.stderr
    return {
        test
        for test in tests
        if re.search(rf"^FAILED {re.escape(test)}", done.stdout, re.MULTILINE)
    }


@pytest.fixture
def tree(tmp_path):
    """The project once more, to be spoilt."""
    for place in PLACES:
        source = ROOT / place
        if source.is_file():
            shutil.copy(source, tmp_path)
        else:
            shutil.copytree(source, tmp_path / place, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_every_bug_can_still_be_planted_and_its_tests_are_told_in_the_page():
    page = (ROOT / "docs" / "reliability.md").read_text()
    for bug in BUGS:
        assert (ROOT / bug.file).read_text().count(bug.right) == 1, bug.name
        for test in bug.red:
            file, _, name = test.partition("::")
            assert f"def {name}(" in (ROOT / file).read_text(), test
            assert f"| {bug.name} |" in page
            assert f"`{name}`" in page


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("bug", BUGS, ids=names(BUGS))
def test_a_planted_bug_turns_its_tests_red(tree, bug):
    spoilt = tree / bug.file
    spoilt.write_text(spoilt.read_text().replace(bug.right, bug.wrong))

    assert run(bug.red, tree) == set(bug.red)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_without_a_bug_these_tests_are_green(tree):
    tests = sorted({test for bug in BUGS for test in bug.red})

    assert run(tests, tree, patience=5 * PATIENCE) == set()
