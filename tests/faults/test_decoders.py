"""A file that crashes whoever decodes it costs itself, and not the job."""

import json

from tests.faults.worlds import DATASET, IMAGES
from workers.files import MANIFEST
from workers.rows import manifest_count


def test_an_image_that_crashes_its_decoder_is_left_out_and_the_job_goes_on(new_world, golden):
    bad = sorted(path.name for path in golden.scenes.iterdir())[5]
    world = new_world(before="register")
    world.submit()
    hand = world.hand(f"decode.file@/{bad}=segv:always")

    job = world.succeed()

    counts = world.job(DATASET).facts["counts"]
    assert (counts["accepted"], counts["skipped"]) == (IMAGES - 1, 1)
    [skipped] = map(json.loads, world.folder.skipped(DATASET).read_text().splitlines())
    assert (skipped["path"], skipped["code"]) == (bad, "decoder_crashed")
    assert "SIGSEGV" in skipped["message"]
    assert manifest_count(world.folder.job(job.id) / MANIFEST) == IMAGES - 1
    assert hand.ends == []
