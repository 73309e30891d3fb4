"""Workers as processes of their own, which may be broken.

They run the real loop on real units, without Celery and HTTP around it. They are forked from one
process that has torch loaded, so that each costs milliseconds: a job may lose dozens.
"""

import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from contextlib import suppress
from ctypes import CDLL
from pathlib import Path

import psutil

from app.children import PR_SET_PDEATHSIG
from tests.serving import ROOT
from workers import fault_points, log
from workers.jobs import Lane
from workers.store import open_store
from workers.worker import Worker

#: Longest wait for anything that is to happen, in seconds.
LONGEST_WAIT = 120
#: What a worker imports with its first unit.
HEAVY = ("torch", "models.distill", "workers.phases", "workers.units", "tests.faults.hands")


def forks():
    """Where workers come from: a process that has loaded what they need, and nothing more."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*HEAVY])
    return context


def work(settings, name, log_file, memory_bytes):
    """The life of one worker process: units of both lanes, until it is drained."""
    CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    with open(log_file, "ab", buffering=0) as output:  # noqa: PTH123 - its descriptor is wanted
        os.dup2(output.fileno(), 2)
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115 - as above
    drained = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: drained.set())
    log.configure("json")
    fault_points.arm(settings.faults, settings.fault_marks)
    if memory_bytes:
        limit_memory(memory_bytes)
    workers = [
        Worker(
            lane,
            settings=settings,
            store=open_store(settings),
            name=f"{lane}@{name}",
            is_draining=drained.is_set,
            ring=lambda *_: None,
        )
        for lane in Lane
    ]
    for worker in workers:
        worker.bury_predecessor()
    while not drained.wait(0.02):
        for worker in workers:
            worker.run_until_empty()


def limit_memory(more_bytes):
    """Let this process take so many bytes more than it has."""
    used = int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more_bytes,) * 2)


class Hand:
    """One worker of a world; started again under its name when it has died, as Celery does."""

    def __init__(self, name, settings, log, memory_bytes=0):
        self.name, self.settings, self.log = name, settings, log
        self.memory_bytes = memory_bytes
        #: How each that died ended: its exit status, the signal that killed it below 0.
        self.ends = []
        self.start()

    def start(self):
        arguments = (self.settings, self.name, self.log, self.memory_bytes)
        self.process = forks().Process(target=work, args=arguments, daemon=True)
        self.process.start()

    @property
    def said(self):
        return self.log.read_text() if self.log.exists() else ""

    def is_dead(self):
        return self.process.exitcode is not None

    def start_again_if_dead(self):
        if self.is_dead():
            self.ends.append(self.process.exitcode)
            self.start()

    def signal(self, number):
        os.kill(self.process.pid, number)

    def is_stopped(self):
        """Whether a SIGSTOP holds it."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED
        return False

    def resident_bytes(self):
        """Its memory; 0 once it is gone."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).memory_info().rss
        return 0

    def drain(self):
        """End it as a deployment does; its exit status."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)
        self.process.join(LONGEST_WAIT)
        return self.process.exitcode

    def kill(self):
        self.process.kill()
        self.process.join()


def start_forks():
    """Start the process that workers are forked from; it looks for modules where we do."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        forks().Process(target=time.time).start()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
