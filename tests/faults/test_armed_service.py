"""Faults that `CCD_FAULTS` puts into a whole service: all of its processes are armed."""

import pytest

from demo.world import CLASSES
from tests.faults.services import Jobs
from workers.files import DataFolder

FAULTS = "unit.batch@/train/:2=kill,unit.recorded@/embed/=kill,submit.written@job_=drop"


@pytest.mark.long
def test_a_service_with_faults_in_it_gives_the_labels_of_one_without(tmp_path, golden):
    jobs = Jobs(tmp_path / "data", golden.scenes, CCD_FAULTS=FAULTS)
    try:
        source = {"kind": "folder", "path": str(golden.scenes)}
        body = {"source": source, "classes": list(CLASSES[:4]), "preset": "tiny"}
        small = {"warm_up_epochs": 1, "train_epochs": 2, "batch_size": 4}
        first = jobs.post("/v1/jobs", {**body, "config": small})
        jobs.finish(first)
        met = {path.name for path in (jobs.data / "faults").iterdir()}
        labels = jobs.labels(first)

        folder = DataFolder(jobs.data)
        for path in folder.phases.iterdir():
            folder.discard(path)
        second = jobs.post("/v1/jobs", {**body, "config": small})
        jobs.finish(second)
        assert jobs.labels(second) == labels
    finally:
        jobs.end()

    assert len(met) == len(FAULTS.split(","))
    assert jobs.serve.said.read_text().count("armed") == 0  # the log has it, not the terminal
    for part in ("api", "worker-io", "worker-method"):
        assert "faults.armed" in (jobs.data / "logs" / f"{part}.log").read_text()
