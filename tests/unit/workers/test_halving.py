"""When half the batch is tried, and what is told of it."""

import errno
import os
from types import SimpleNamespace

import pytest
import torch

from workers.halving import (
    StillOutOfMemory,
    batch_of,
    fact_of,
    halving_warnings,
    is_halved,
    ran_out_of_memory,
)

CONFIG = {"teacher_batch": 64, "batch_size": 1}


def claim(phase, unit=0):
    record = SimpleNamespace(request={"config": CONFIG})
    return SimpleNamespace(phase=phase, unit=unit, record=record)


def caused(cause):
    error = ValueError("a reader failed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "is_so"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"), True),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), True),
        (RuntimeError("unable to mmap 9 bytes from file: Cannot allocate memory (12)"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (caused(MemoryError()), True),
        (caused(ValueError("odd")), False),
        (RuntimeError("device-side assert triggered"), False),
    ],
)
def test_a_lack_of_memory_is_known_by_what_it_says(error, is_so):
    assert ran_out_of_memory(error) is is_so


def test_only_a_phase_with_a_batch_of_two_or_more_can_be_halved():
    assert batch_of(claim("embed")) == ("teacher_batch", 64)
    assert batch_of(claim("train")) is None
    assert batch_of(claim("debias")) is None


def test_the_record_keeps_a_fact_for_each_unit():
    facts = {**fact_of(claim("embed", 3)), **fact_of(claim("embed", 4)), "counts": {}}

    assert is_halved(facts, "embed", 3)
    assert not is_halved(facts, "embed", 0)
    [warning] = halving_warnings(facts)
    assert warning["code"] == "batch_halved"
    assert "2 units of embed (teacher_batch 32)" in warning["message"]
    assert halving_warnings({"counts": {}}) == []


def test_the_final_error_names_what_to_change():
    error = StillOutOfMemory("teacher_batch", 64, MemoryError("no more"))

    assert error.code == "out_of_memory"
    assert "teacher_batch 64" in str(error)
    assert "teacher_batch below 32" in error.hint
