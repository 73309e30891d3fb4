"""A process that dies while it publishes leaves the folder before or the new one, never a mix."""

import signal

import pytest

from tests.faults.worlds import result_of

POINTS = ("before_data", "after_data", "before_manifest", "before_rename", "after_rename")
#: A checkpoint in the middle of training, the scores, and the job's own student: where, and the
#: phase whose unit publishes it.
FOLDERS = {"phases/weights-:2": "train", "phases/score-": "score", "job_1/student": "score"}


def commits():
    for folder in FOLDERS:
        for point in POINTS:
            is_short = (folder, point) == ("phases/weights-:2", "before_manifest")
            yield pytest.param(
                *(f"publish.{point}", folder), marks=() if is_short else pytest.mark.long
            )


@pytest.mark.parametrize(("point", "folder"), [*commits()])
def test_a_kill_inside_a_publication_tears_nothing(new_world, golden, point, folder):
    world = new_world(before=FOLDERS[folder])
    world.submit()
    hand = world.hand(f"{point}@{folder}=kill")
    world.watch_until(hand.is_dead)

    seen = [*world.folder.phases.iterdir(), *world.folder.jobs.glob("*/student")]
    assert [path.name for path in seen if not world.folder.is_complete(path)] == []
    world.succeed()
    assert hand.ends == [-signal.SIGKILL]
    assert result_of(world).differences(golden.result) == []
