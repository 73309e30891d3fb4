"""What a worker computes on, as the driver's tool tells it."""

import os
import stat

import pytest

from workers.devices import Device, device_kind, find_device

MIB = 1 << 20
#: Answers for one GPU, and says how it was asked.
TOOL = """#!/bin/sh
echo "$1 $2 $3" >> "{folder}/asked.txt"
case "$1" in
  --id=1|--id=GPU-b) echo "GPU-b, Some GPU 80GB, 81559, 1024" ;;
  --id=2) echo "GPU-c, Part of a GPU, [N/A], [N/A]" ;;
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


GPU = Device("Some GPU 80GB", "GPU-b", 81559 * MIB, 1024 * MIB)


def test_a_gpu_tells_its_name_and_memory(gpus):
    assert find_device("cuda:1") == GPU
    assert (gpus / "asked.txt").read_text() == (
        "--id=1 --query-gpu=uuid,name,memory.total,memory.used --format=csv,noheader,nounits\n"
    )


@pytest.mark.parametrize(
    ("visible", "wanted", "found"),
    [
        ("1", "auto", "GPU-b"),
        ("0,1", "cuda:1", "GPU-b"),
        ("GPU-b", "cuda", "GPU-b"),
        ("", "auto", None),
        ("1", "cuda:1", None),
    ],
)
def test_the_gpu_is_the_one_that_cuda_would_count(gpus, monkeypatch, visible, wanted, found):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    assert find_device(wanted).uuid == found


def test_what_a_gpu_does_not_tell_is_none(gpus):
    assert find_device("cuda:2") == Device("Part of a GPU", "GPU-c", None, None)


def test_a_gpu_that_does_not_answer_leaves_the_cpu_or_its_bare_name(gpus):
    assert find_device("auto").name == "cpu"
    assert find_device("cuda:0") == Device("cuda")


@pytest.mark.parametrize("wanted", ["auto", "cpu"])
def test_without_a_gpu_the_memory_is_that_of_the_machine(no_gpu, wanted):
    found = find_device(wanted)

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


def test_the_kind_is_found_out_where_it_is_not_named(gpus, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert device_kind("auto") == "cuda"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert device_kind("auto") == "cpu"
