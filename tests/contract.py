"""Calls drawn at random from what /openapi.json says, and what was wrong with the answers."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROGRAM = Path(sys.executable).with_name("schemathesis")
#: How often a drawn call names something that is there.
SHARE = 0.7
#: What a call that breaks the description may be told, beside what any check expects: of an id
#: that is none 404, of a list too long that it is too large, of a strange ETag 412.
REFUSED = ["400", "401", "403", "404", "405", "409", "410", "412", "413", "415", "416", "422"]
#: Calls whose description allows what is refused for reasons that no schema tells: a cursor has
#: to be one that was given, an ETag the present one, a range inside the file, a class one of the
#: job's, a source one of several, an archive a zip. All other calls take whatever they describe.
CHOOSY = [
    *("list_datasets", "list_images", "list_skipped_files", "list_jobs", "list_evaluations"),
    *("list_exports", "list_keys", "list_students", "list_thresholds_versions", "list_labels"),
    *("get_job_logs", "get_prediction", "get_cam", "list_audit"),
    *("delete_dataset", "delete_job", "delete_prediction", "delete_evaluation", "delete_export"),
    *("get_artifact", "get_export_file", "get_student_weights", "get_report", "get_job_health"),
    *("create_dataset", "create_job", "create_prediction", "create_evaluation", "create_export"),
    *("cancel_job", "change_thresholds", "create_key", "retry_job"),
]
#: Not part of a story: it might end the key that all calls are made with.
ALONE = ["revoke_key", "rotate_key"]


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    calls: int
    report: str
    is_clean: bool


def run_contract(folder, url, *, key, known, seed, examples, phases):
    """Call the service as its description allows, and as it forbids.

    Args:
        folder: for the files of the run.
        url: of the service.
        key: opens everything there.
        known: values by parameter, `path.job_id` or `delete_job path.job_id`.
        seed: decides what is drawn.
        examples: most calls drawn of an operation in a phase.
        phases: how calls are found: `coverage` looks at every bound of every field.
    """
    config, found = folder / "schemathesis.toml", folder / "report.json"
    config.write_text("\n".join([*_rules(key), *_dictionaries(known)]))
    command = [
        *(PROGRAM, "--config-file", config, "run", f"{url}/openapi.json"),
        *(
            "--phases",
            phases,
            "--seed",
            seed,
            "--max-examples",
            examples,
            "--generation-database",
            "none",
        ),
        *("--continue-on-failure", "--no-color", "--suppress-health-check", "all"),
        *("--report", "json", "--report-json-path", found),
    ]
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False
    )
    said = f"{done.stdout}\n{done.stderr}"
    assert found.exists(), said
    calls = json.loads(found.read_text())["test_cases"]["generated"]
    return Outcome(calls, said, done.returncode == 0)


def _rules(key):
    """Which checks there are, and of which calls."""
    yield "request-timeout = 60"  # of a machine that has other things to do
    yield f"[auth.openapi.key]\nbearer = {json.dumps(key)}"
    yield f"[checks.negative_data_rejection]\nexpected-statuses = {json.dumps(REFUSED)}"
    # Answers wait for work that nobody does here.
    yield '[parameters]\n"header.Prefer" = "wait=0"\n"header.prefer" = "wait=0"'
    # A part of a JSON file is no JSON, and is checked as if it were: all of it in one part is.
    yield '"header.Range" = "bytes=0-"'
    yield f"[[operations]]\ninclude-operation-id = {json.dumps(CHOOSY)}"
    yield "[operations.checks.positive_data_acceptance]\nenabled = false"
    yield f"[[operations]]\ninclude-operation-id = {json.dumps(ALONE)}"
    yield "[operations.phases.stateful]\nenabled = false"
    # Nor does anything happen there; and beside a header that is a number a header that nobody
    # knows is taken for a fault.
    yield '[[operations]]\ninclude-operation-id = "get_job_events"'
    yield '[operations.parameters]\n"query.wait" = 0'
    yield "[operations.generation]\nallow-extra-parameters = false"
    # The address is also one of /v1/keys/{key_id}, of a key that never is, and that has DELETE.
    yield '[[operations]]\ninclude-path = "/v1/keys/current"'
    yield "[operations.checks.allow_header_conformance]\nenabled = false"


def _dictionaries(known):
    """What there is, by the names of parameters."""
    for number, (name, values) in enumerate(known.items()):
        yield f"[dictionaries.known{number}]\nvalues = {json.dumps(values)}"
        operation, _, parameter = name.rpartition(" ")
        if operation:
            yield f'[[operations]]\ninclude-operation-id = "{operation}"'
        yield f'[{"operations." * bool(operation)}parameters."{parameter}"]'
        yield f'dictionary = "known{number}"\nprobability = {SHARE}'
