"""The unit of an evaluation: a job against the truth that the request names."""

from __future__ import annotations

from workers.evaluations import facts_of, publish
from workers.files import EVALUATION, read_json
from workers.jobs import Claim, Kind
from workers.results import open_job
from workers.truth.read import read_truth
from workers.truth.source import place_truth
from workers.units import Finished, OnBatch, Workbench


def evaluate_unit(claim: Claim, bench: Workbench, on_batch: OnBatch) -> Finished:
    """Read the truth, compare, publish."""
    request, folder = claim.record.request, bench.folder
    results = open_job(folder, request["job_id"])
    own = folder.of(Kind.EVALUATION, claim.record.id)
    with folder.staging(claim.nonce) as staging:
        path = place_truth(request["truth"], own=own, staging=staging, settings=bench.settings)
        truth = read_truth(path, format=request["format"], split=request["split"])
    on_batch(0)
    name = publish(
        results,
        truth,
        class_map=request["class_map"],
        nonce=claim.nonce,
        threads=bench.threads,
        on_images=on_batch,
    )
    facts = facts_of(read_json(folder.phase(name) / EVALUATION))
    return Finished(name, facts["counts"]["matched"], facts=facts)
