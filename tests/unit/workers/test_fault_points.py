"""Fault points do nothing, but for those that are armed, and then what was asked for."""

import ast
import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import ROOT
from workers.fault_points import (
    ACTIONS,
    NEEDS,
    POINTS,
    Fault,
    InjectedFault,
    arm,
    armed,
    fault,
    read_faults,
)
from workers.settings import Settings


@pytest.fixture
def put(tmp_path):
    """Arms this process; afterwards it is as before."""
    yield lambda text: arm(read_faults(text), tmp_path / "marks")
    arm((), tmp_path)


def process(text, marks, then):
    """How a process ends that is armed and passes points."""
    code = (
        "from pathlib import Path\n"
        "from workers.fault_points import *\n"
        "import sys\n"
        "arm(read_faults(sys.argv[1]), Path(sys.argv[2]))\n" + then
    )
    command = [sys.executable, "-c", code, text, str(marks)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_fault_is_read_with_all_its_parts():
    first, second = "unit.batch@train/000001:3=kill:always", "publish.after_rename=corrupt"

    assert read_faults(f"{first}, {second}") == (
        Fault("unit.batch", "train/000001", 3, "kill", always=True, text=first),
        Fault("publish.after_rename", "", 1, "corrupt", always=False, text=second),
    )


def test_nothing_is_armed_by_default():
    assert read_faults("") == ()
    assert armed() is None
    fault("unit.batch")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("unit.batch", "is written point"),
        ("unit.batch=kill:twice", "is written point"),
        ("unit.bach=kill", "there is no fault point 'unit.bach'; there are unit.started, "),
        ("unit.batch=explode", "a fault cannot 'explode'; it can kill, stop, "),
        ("unit.batch:0=kill", "counted from 1, not from 0"),
        ("unit.batch=corrupt", "can corrupt at publish.after_data, "),
        ("decode.file=drop", "can drop at unit.started, "),
    ],
)
def test_what_cannot_be_done_is_told_with_what_can(monkeypatch, text, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        read_faults(text)

    monkeypatch.setenv("CCD_FAULTS", text)
    with pytest.raises(ValueError, match=re.escape(said)):
        Settings()


def test_the_setting_is_read_from_the_environment(monkeypatch):
    monkeypatch.setenv("CCD_FAULTS", "unit.batch=kill")

    assert Settings().faults == read_faults("unit.batch=kill")


def test_a_fault_waits_for_its_point_its_subject_and_its_turn(put):
    put("unit.batch@train:2=raise")

    fault("unit.started", "job_1/train/000000")
    fault("unit.batch", "job_1/warm_up/000000")
    fault("unit.batch", "job_1/train/000000")
    with pytest.raises(InjectedFault, match=r"unit\.batch"):
        fault("unit.batch", "job_1/train/000000")


def test_a_fault_happens_once_however_many_processes_pass(put, tmp_path):
    put("unit.batch=raise")
    with pytest.raises(InjectedFault):
        fault("unit.batch")
    fault("unit.batch")

    put("unit.batch=raise")
    fault("unit.batch")
    again = process("unit.batch=raise", tmp_path / "marks", "fault('unit.batch')")
    assert again.returncode == 0, again.stderr


def test_always_is_from_its_turn_on_in_every_process(put):
    for _ in range(2):
        put("unit.batch:2=raise:always")
        fault("unit.batch")
        for _ in range(2):
            with pytest.raises(InjectedFault):
                fault("unit.batch")


def test_an_armed_process_says_so_and_tells_its_children(put, caplog, tmp_path):
    put("unit.batch=kill,decode.file=segv:always")

    assert "faults.armed: unit.batch=kill,decode.file=segv:always" in caplog.text
    assert armed() == ("unit.batch=kill,decode.file=segv:always", str(tmp_path / "marks"))


@pytest.mark.parametrize(
    ("action", "status"), [("kill", -signal.SIGKILL), ("segv", -signal.SIGSEGV), ("exit", 1)]
)
def test_a_process_ends_as_it_was_asked_to(tmp_path, action, status):
    ended = process(f"decode.file={action}", tmp_path, "fault('decode.file'); print('lives')")

    assert (ended.returncode, ended.stdout) == (status, "")


def test_a_full_disk_is_that_of_the_system(put):
    put("publish.before_data=enospc")

    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as raised:
        fault("publish.before_data")
    assert raised.value.errno == errno.ENOSPC


def test_memory_is_eaten_until_the_limit_of_the_process(tmp_path):
    then = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_AS, (300 << 20,) * 2)\n"
        "try:\n    fault('decode.file')\n"
        "except MemoryError:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 100 << 10)"
    )

    assert process("decode.file=eat", tmp_path, then).stdout == "True\n"


def test_corruption_flips_one_bit_of_the_largest_file(put, tmp_path):
    published = tmp_path / "published"
    published.mkdir()
    (published / "small").write_bytes(bytes(3))
    (published / "large").write_bytes(bytes(5))
    put("publish.after_rename=corrupt")

    fault("publish.after_rename", files=published)

    assert (published / "small").read_bytes() == bytes(3)
    assert (published / "large").read_bytes() == bytes([0, 0, 1, 0, 0])


def test_a_dropped_connection_is_opened_again_by_the_next_call(put, redis_client):
    put("unit.batch=drop")
    before = redis_client.client_id()

    fault("unit.batch", redis=redis_client)

    assert redis_client.client_id() != before


def test_every_point_is_passed_somewhere_with_what_its_faults_need():
    passed = {}
    for path in (*(ROOT / "app").rglob("*.py"), *(ROOT / "workers").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            name = getattr(getattr(node, "func", None), "attr", None) or getattr(
                getattr(node, "func", None), "id", None
            )
            if isinstance(node, ast.Call) and name == "fault" and node.args:
                point = ast.literal_eval(node.args[0])
                passed[point] = {keyword.arg for keyword in node.keywords}

    assert passed == {point: set(has) for point, has in POINTS.items()}
    assert NEEDS.keys() <= ACTIONS.keys()
    assert set(NEEDS.values()) <= set().union(*POINTS.values())


def test_an_unarmed_point_looks_at_one_list_and_calls_nothing():
    called = []
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, _: called.append((event, frame.f_code.co_name)))
    try:
        fault("unit.batch", "job_1/train/000000")
    finally:
        sys.setprofile(before)

    assert called[:2] == [("call", "fault"), ("return", "fault")]


def test_the_marks_lie_in_the_data_folder():
    assert Settings(data=Path("/somewhere")).fault_marks == Path("/somewhere/faults")
