"""A whole `ccd serve` for faults that no single process shows, and what is asked of it."""

import httpx
import psutil

from tests.serving import Serve, wait_until

STAGES = ("global", "debiased", "local", "pseudo", "student")
#: Everything that waits is short, so that what is lost is found again within seconds.
QUICK = {
    "CCD_LEASE_SECONDS": "4",
    "CCD_HEARTBEAT_SECONDS": "0.1",
    "CCD_REAP_SECONDS": "0.3",
    "CCD_BACKOFF_SECONDS": "0.1",
    "CCD_THREADS": "1",
    "CCD_SHARD_IMAGES": "25",
}
LONGEST_WAIT = 200


class Jobs:
    """A service, and what these tests ask of it."""

    def __init__(self, data, scenes, **environment):
        self.data, self._options = data, ("--port", "0", "--allow", str(scenes))
        self._environment = QUICK | environment
        self.start()

    def start(self):
        self.serve = Serve(self.data, *self._options, env=self._environment).wait_until_ready()
        self.client = httpx.Client(base_url=self.serve.url(), timeout=30)

    def post(self, path, body):
        answer = self.client.post(path, json=body)
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        return answer.json()["id"]

    def read(self, job_id):
        """The job, None while nobody answers."""
        try:
            answer = self.client.get(f"/v1/jobs/{job_id}")
        except httpx.TransportError:
            return None
        return answer.json() if answer.is_success else None

    def wait_for(self, job_id, phase):
        """The job, as soon as it is in that phase and has done something there."""

        def is_there():
            job = self.read(job_id)
            return job and job["phase"] == phase and job["progress"]["done"] > 0 and job

        return wait_until(is_there, LONGEST_WAIT)

    def finish(self, job_id):
        def is_over():
            job = self.read(job_id)
            return job and job["terminal"] and job

        job = wait_until(is_over, LONGEST_WAIT)
        assert job["status"] == "succeeded", job["error"]

    def labels(self, job_id):
        """The bytes of every stage."""
        return {stage: self._stage(job_id, stage) for stage in STAGES}

    def _stage(self, job_id, stage):
        answer = self.client.get(
            f"/v1/jobs/{job_id}/labels",
            params={"stage": stage, "views": stage == "local"},
            headers={"Accept": "application/x-ndjson"},
        )
        assert answer.is_success, answer.text
        return answer.content

    def end(self):
        self.client.close()
        self.serve.end()

    def worker(self):
        """The main process of the worker that runs the method."""
        return psutil.Process(self.serve.pid("worker-method"))

    def worker_child(self):
        """The process that runs its units."""
        children = self.worker().children()
        return next(child for child in children if "spawn_main" in " ".join(child.cmdline()))
