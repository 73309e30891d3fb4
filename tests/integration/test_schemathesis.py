"""The service keeps to its description: whatever may be sent, and what may not."""

import json
from hashlib import sha256

import pytest
import torch

from app.callers import Scope
from app.examples import HEALTH
from tests.contract import run_contract
from workers.exports.formats import ExportFormat, stored_name
from workers.jobs import Lane

#: Things that calls may delete, revoke and cancel, of each kind.
SPARE = 4
TABLE = b"image_id,path\nimg_0,a.jpg\n"


@pytest.fixture
def ours(caller):
    return caller(Scope.ADMIN)


@pytest.fixture
def known(ours):
    """What there is, by the names of parameters; what ends it is given things of no worth."""
    job_id = ours.new_job()
    ours.run_until(job_id, "score")
    ours.report(
        job_id, {"report.html": "<p>", "health.json": json.dumps(HEALTH), "policy.txt": "x"}
    )
    job = ours.get(f"/v1/jobs/{job_id}").json()
    student_id, dataset_id = job["student_id"], job["dataset_id"]
    prediction_id = predicted(ours, student_id, dataset_id)
    truth_file = ours.root.parent / "truth.csv"
    truth_file.write_text("path,labels\na.jpg,zebra\n")
    evaluation_id, *spare_evaluations = (evaluated(ours, job_id, truth_file) for _ in range(SPARE))
    export_id = exported(ours, job_id)
    spare_exports = [spare_export(ours, job_id, format) for format in ("jsonl", "parquet", "coco")]
    return {
        "path.job_id": [job_id],
        "path.dataset_id": [dataset_id],
        "path.student_id": [student_id],
        "path.prediction_id": [prediction_id],
        "path.evaluation_id": [evaluation_id],
        "path.export_id": [export_id],
        "path.image_id": ["img_0", "img_1"],
        "path.name": ["student.safetensors", "report.html"],
        "path.key_id": [spare_key(ours) for _ in range(SPARE)],
        "path.code": ["not_found", "job_not_found"],
        "body.dataset_id": [dataset_id],
        "body.source.path": [str(ours.root)],
        "body.source.paths[*]": [str(ours.root)],
        "create_evaluation body.source.path": [str(truth_file)],
        "body.evaluation_id": [evaluation_id],
        "query.job_id": [job_id],
        "query.class": ["zebra"],
        "delete_job path.job_id": [spare_job(ours) for _ in range(SPARE)],
        "cancel_job path.job_id": [ours.new_job(), spare_job(ours)],
        "retry_job path.job_id": [spare_job(ours), job_id],
        "delete_dataset path.dataset_id": [ours.new_dataset() for _ in range(SPARE)],
        "delete_evaluation path.evaluation_id": spare_evaluations,
        "delete_export path.export_id": spare_exports,
        "delete_prediction path.prediction_id": [
            predicted(ours, student_id, dataset_id) for _ in range(SPARE)
        ],
    }


def predicted(ours, student_id, dataset_id):
    """A prediction that is there."""
    body = {"dataset_id": dataset_id}
    id = ours.post(f"/v1/students/{student_id}/predictions", json=body).json()["id"]
    name = "predict-" + id.removeprefix("pred_")
    ours.publish(name, "scores.safetensors", {"probs": torch.rand(4, 3)})
    assert ours.work(Lane.IO, output=name) == id
    return id


def exported(ours, job_id):
    """An export that is there, without what makes one, which takes long to load."""
    id = ours.post(f"/v1/jobs/{job_id}/exports", json={"format": "csv"}).json()["id"]
    name = f"export_labels-{ours.store.get(id).request['digest']}"
    file = {"name": "labels.csv", "bytes": len(TABLE), "sha256": sha256(TABLE).hexdigest()}
    ours.folder.produce(
        name,
        lambda staging: (staging / stored_name(ExportFormat.CSV)).write_bytes(TABLE),
        nonce="n0",
    )
    losses = {"images": 0, "labels": 0, "notes": []}
    facts = {"file": file, "counts": {"images": 5}, "losses": losses}
    assert ours.work(Lane.IO, output=name, facts=facts) == id
    return id


def spare_export(ours, job_id, format):
    id = ours.post(f"/v1/jobs/{job_id}/exports", json={"format": format}).json()["id"]
    ours.store.cancel(id)
    return id


def evaluated(ours, job_id, truth_file):
    """An evaluation that is over; to make one takes a process of its own."""
    source = {"kind": "file", "path": str(truth_file)}
    id = ours.post(f"/v1/jobs/{job_id}/evaluations", json={"source": source}).json()["id"]
    ours.store.cancel(id)
    return id


def spare_job(ours):
    """A job that is over."""
    id = ours.new_job()
    ours.store.cancel(id)
    return id


def spare_key(ours):
    return ours.post("/v1/keys", json={"name": "spare", "scopes": ["read"]}).json()["id"]


def contract(ours, known, folder, **drawn):
    key = ours.headers["Authorization"].partition(" ")[2]
    url = str(ours.base_url).rstrip("/")
    return run_contract(folder, url, key=key, known=known, **drawn)


def test_some_hundred_calls_drawn_from_the_description_are_answered_as_it_says(
    ours, known, tmp_path
):
    outcome = contract(
        ours, known, tmp_path, seed=4, examples=6, phases="examples,fuzzing,stateful"
    )

    assert outcome.is_clean, outcome.report
    assert outcome.calls >= 300, outcome.report


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_five_thousand_calls_drawn_from_the_description_are_answered_as_it_says(
    ours, known, tmp_path, fault_seed
):
    outcome = contract(
        ours,
        known,
        tmp_path,
        seed=fault_seed,
        examples=60,
        phases="examples,coverage,fuzzing,stateful",
    )

    assert outcome.is_clean, outcome.report
    assert outcome.calls >= 5000, outcome.report
