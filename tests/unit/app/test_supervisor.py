"""Children are kept running, reported, and ended in order; programs of one line stand in."""

import errno
import signal
import subprocess
import sys
from functools import partial

import psutil
import pytest

from app.children import start_child, stop_child
from app.supervisor import (
    EARLY_DEATHS,
    LONGEST_PAUSE,
    ChildKeepsDying,
    Deaths,
    Supervisor,
    describe_end,
)
from tests.serving import survivors, wait_until

SLEEP = "import time; time.sleep(60)"
DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); " + SLEEP
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]).wait()"


@pytest.fixture
def said():
    return []


@pytest.fixture
def supervisor(said):
    supervisor = Supervisor(said.append)
    yield supervisor
    supervisor.kill()


@pytest.fixture
def add(supervisor, tmp_path):
    def add(name, code, **options):
        log = tmp_path / f"{name}.log"
        start = partial(start_child, [sys.executable, "-c", code], log=log)
        child = start()
        supervisor.add(name, child, start, log=log, **options)
        return child

    return add


def test_a_killed_child_is_started_again(supervisor, add, said):
    child = add("clock", SLEEP)
    child.kill()
    child.wait()

    wait_until(lambda: supervisor.check() or sum("started" in line for line in said) == 2)

    assert "clock was ended by SIGKILL; starts again in 0.5 s" in said[1]


def test_the_pause_doubles_with_every_early_death(supervisor, add, said):
    add("broken", "")

    wait_until(lambda: supervisor.check() or sum("starts again" in line for line in said) == 3)

    pauses = [line.split("again in ")[1].split(" s")[0] for line in said if "again in" in line]
    assert pauses == ["0.5", "1", "2"]


@pytest.mark.parametrize(
    ("lives", "pauses"),
    [
        # Never up.
        ([0] * 8, [0.5, 1, 2, 4, 8, 16, 30, 30]),
        # Every 12 s: a quarter of them.
        ([12] * 5, [0.5, 1, 2, 3, 3]),
        ([200] * 8, [0.5, 1, 2, 4, 8, 16, 30, 30]),
        # Nine minutes are not long enough to forget the deaths before, ten are.
        ([12, 12, 540, 600, 12], [0.5, 1, 2, 0.5, 1]),
        # It had come up in between.
        ([0, 0, 12, 0, 0], [0.5, 1, 2, 0.5, 1]),
    ],
)
def test_the_pause_grows_until_a_child_has_lived_long(lives, pauses):
    deaths, found = Deaths(), []
    for lived in lives:
        deaths, pause = deaths.and_after(lived)
        found.append(pause)

    assert found == pauses


def test_a_pause_is_bounded_however_often_a_child_has_died():
    assert Deaths(10**6, 10**6).and_after(0)[1] == LONGEST_PAUSE


def test_a_child_that_keeps_dying_is_reported_with_the_end_of_its_log(supervisor, add):
    add("broken", "print('no such thing as an apple')")

    def gives_up():
        supervisor.check()
        try:
            supervisor.check_early_deaths()
        except ChildKeepsDying as error:
            return f"broken ended {EARLY_DEATHS} times" in str(error) and "apple" in str(error)
        return False

    wait_until(gives_up)


def test_the_end_of_a_child_is_told_by_its_process(supervisor, add):
    ended = []
    child = add("clock", SLEEP, on_death=ended.append)
    child.kill()
    child.wait()

    supervisor.check()

    assert ended == [child.pid]


def test_a_child_that_cannot_be_started_for_a_while_is_started_later(supervisor, said, tmp_path):
    log, broken = tmp_path / "clock.log", [OSError(errno.ENOMEM, "no memory")]

    def start():
        if len(said) > 1 and broken:
            raise broken.pop()
        return start_child([sys.executable, "-c", SLEEP], log=log)

    child = start()
    supervisor.add("clock", child, start, log=log)
    child.kill()
    child.wait()

    wait_until(lambda: supervisor.check() or len(said) == 4)

    assert said[2] == "clock cannot be started: [Errno 12] no memory; once more in 1 s"
    assert said[3].startswith("clock started")


def test_children_that_are_stopped_stay_stopped(supervisor, add, said):
    child = add("clock", SLEEP)

    supervisor.stop(["clock"], seconds=10)
    supervisor.check()

    assert child.returncode == -signal.SIGTERM
    assert said[-1] == "clock stopped"


def test_a_child_deaf_to_sigterm_is_killed_in_time(supervisor, add, said, tmp_path):
    child = add("stone", DEAF)
    wait_until((tmp_path / "stone.log").read_text)

    supervisor.stop(["stone"], seconds=0.1)

    assert child.returncode == -signal.SIGKILL
    assert "stone did not stop in time and is killed" in said


def test_what_a_dead_child_had_started_is_ended_too(supervisor, add):
    child = add("parent", PARENT)
    wait_until(psutil.Process(child.pid).children)
    grandchildren = psutil.Process(child.pid).children()
    child.kill()
    child.wait()

    supervisor.check()

    assert survivors(grandchildren) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_a_child_dies_with_its_parent(tmp_path):
    log = str(tmp_path / "log")
    code = (
        "import sys; from pathlib import Path; from app.children import start_child\n"
        f"child = start_child([sys.executable, '-c', {SLEEP!r}], log=Path({log!r}))\n"
        "print(child.pid, flush=True); child.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()

    assert survivors([child]) == []


def test_stopping_tells_whether_it_took_force(tmp_path):
    log = tmp_path / "log"
    gentle = start_child([sys.executable, "-c", SLEEP], log=log)
    assert stop_child(gentle, seconds=10)

    deaf = start_child([sys.executable, "-c", DEAF], log=log)
    wait_until(log.read_text)
    assert not stop_child(deaf, seconds=0.1)


@pytest.mark.parametrize(
    ("code", "said"),
    [(0, "ended with code 0"), (3, "ended with code 3"), (-9, "was ended by SIGKILL")],
)
def test_an_end_is_told_in_words(code, said):
    assert describe_end(code) == said
