"""What a worker computes on, as the driver's tool tells it."""

import os
import stat
import subprocess
import sys

import pytest
import torch

from tests.serving import ROOT
from workers import devices
from workers.devices import Device, DeviceUnknown, choose_device, device_kind, find_device

MIB = 1 << 20
#: Answers for one GPU, and says how it was asked.
TOOL = """#!/bin/sh
echo "$1 $2 $3" >> "{folder}/asked.txt"
case "$1" in
  --id=1|--id=GPU-b) echo "GPU-b, Some GPU 80GB, 81559, 1024, 75" ;;
  --id=2) echo "GPU-c, Part of a GPU, [N/A], [N/A], [N/A]" ;;
  *) echo "No devices were found"; exit 6 ;;
esac
"""


@pytest.fixture
def gpus(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(TOOL.format(folder=tmp_path))
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


@pytest.fixture
def no_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))


GPU = Device("Some GPU 80GB", "GPU-b", 81559 * MIB, 1024 * MIB, 0.75)


def test_a_gpu_tells_its_name_and_memory(gpus):
    assert find_device("cuda:1") == GPU
    assert (gpus / "asked.txt").read_text() == (
        "--id=1 --query-gpu=uuid,name,memory.total,memory.used,utilization.gpu "
        "--format=csv,noheader,nounits\n"
    )


@pytest.mark.parametrize(
    ("visible", "wanted", "found"),
    [
        ("1", "cuda", "GPU-b"),
        ("0,1", "cuda:1", "GPU-b"),
        ("GPU-b", "cuda", "GPU-b"),
        ("", "cuda", None),
        ("1", "cuda:1", None),
    ],
)
def test_the_gpu_is_the_one_that_cuda_would_count(gpus, monkeypatch, visible, wanted, found):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert find_device(wanted).uuid == found


def test_what_a_gpu_does_not_tell_is_none(gpus):
    assert find_device("cuda:2") == Device("Part of a GPU", "GPU-c", None, None)


def test_a_gpu_that_does_not_answer_leaves_its_bare_name(gpus):
    assert find_device("cuda:0") == Device("cuda")


def test_the_memory_of_the_cpu_is_that_of_the_machine(gpus):
    found = find_device("cpu")

    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert (found.name, found.uuid, found.memory_used_bytes) == ("cpu", None, None)
    assert MIB < found.memory_bytes <= total


def test_the_limit_of_a_container_is_all_that_its_cpu_has(no_gpu, tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr("workers.devices.CGROUP_LIMIT", limit)
    limit.write_text("1048576\n")
    assert find_device("cpu").memory_bytes == MIB

    limit.write_text("max\n")
    assert find_device("cpu").memory_bytes > MIB


@pytest.mark.parametrize(
    ("wanted", "kind"), [("cpu", "cpu"), ("mps", "mps"), ("cuda", "cuda"), ("cuda:3", "cuda")]
)
def test_a_device_that_is_named_says_its_kind(no_gpu, wanted, kind):
    assert device_kind(wanted) == kind


def fake_torch(folder, monkeypatch, *, code):
    """A driver that torch can be asked about, and its answer."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\necho $@ >> {folder}/asked.txt\n{code}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr("sys.executable", str(program))
    monkeypatch.setattr(devices, "ROCM_DEVICE", folder)


@pytest.mark.parametrize("answer", ["cuda", "cpu"])
def test_whatever_the_tool_says_the_device_is_the_one_that_torch_has(gpus, monkeypatch, answer):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")  # the tool answers
    fake_torch(gpus, monkeypatch, code=f"echo {answer}")

    chosen = choose_device("auto")

    assert (chosen, device_kind(chosen)) == (answer, answer)
    assert find_device(chosen).name == {"cuda": "Some GPU 80GB", "cpu": "cpu"}[answer]
    assert (gpus / "asked.txt").read_text().startswith("-m workers.hardware auto\n")


def test_torch_is_not_asked_where_no_driver_is(tmp_path, monkeypatch):
    fake_torch(tmp_path, monkeypatch, code="exit 1")
    monkeypatch.setattr(devices, "CUDA_DRIVER", "libnosuch.so.1")
    monkeypatch.setattr(devices, "ROCM_DEVICE", tmp_path / "nothing")

    assert choose_device("auto") == "cpu"


def test_a_device_that_is_named_is_taken_at_its_word(tmp_path, monkeypatch):
    fake_torch(tmp_path, monkeypatch, code="exit 1")

    assert choose_device("cuda:3") == "cuda:3"


def test_a_torch_that_does_not_load_is_told(tmp_path, monkeypatch):
    fake_torch(tmp_path, monkeypatch, code="echo libc10.so is broken >&2; exit 1")

    with pytest.raises(DeviceUnknown, match=r"libc10\.so is broken"):
        choose_device("auto")


def test_this_torch_says_what_it_computes_on():
    command = [sys.executable, "-m", "workers.hardware", "auto"]

    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == ("cuda" if torch.cuda.is_available() else "cpu")
