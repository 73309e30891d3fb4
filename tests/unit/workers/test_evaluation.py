"""A job against a truth: the right images, classes and thresholds; every mismatch told."""

import json
import math
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from sklearn.metrics import average_precision_score
from structlog.testing import capture_logs

from benchmarks.scored_job import JOB, write_job
from models.thresholds import best_f1_thresholds
from tests.truths import voc_object, write_voc
from workers.evaluate import main
from workers.evaluation import evaluate_job
from workers.evaluations import newest_evaluation, publish
from workers.files import DataFolder
from workers.joined import digest_of_truth
from workers.results import JobUnreadable, open_job
from workers.stages import Stage
from workers.truth.read import read_truth
from workers.truth.truth import TrueImage, Truth, TruthError

ROOT = Path(__file__).resolve().parents[3]
#: In no canonical order; nothing shows a unicorn.
CLASSES = ["zebra", "ant", "tv", "unicorn"]
IMAGES = 60
PATHS = [f"sub/{i:03d}.jpg" for i in range(IMAGES)]


def make_truth(images, classes=CLASSES, warnings=()):
    return Truth(tuple(classes), {image.path: image for image in images}, warnings, "csv")


def random_job(seed=0):
    """Scores of every stage with ties, and a truth that goes with them a little."""
    generator = torch.Generator().manual_seed(seed)
    scores = {s: torch.rand(IMAGES, 4, generator=generator).round(decimals=1) for s in Stage}
    there = torch.rand(IMAGES, 4, generator=generator) < scores[Stage.STUDENT] * 0.8
    there[:, 3] = False
    return scores, there


def named(row):
    return frozenset(name for name, yes in zip(CLASSES, row.tolist(), strict=True) if yes)


@pytest.fixture
def folder(tmp_path):
    data = DataFolder(tmp_path / "data")
    data.create()
    return data


@pytest.fixture
def random_results(folder):
    scores, there = random_job()
    write_job(folder, scores, classes=CLASSES, paths=PATHS, thresholds=[0.4, 0.6, None, 0.5])
    images = [TrueImage(path, named(row)) for path, row in zip(PATHS, there, strict=True)]
    return open_job(folder, JOB), make_truth(images), scores, there


def test_every_stage_has_its_own_map_by_scikit_learn(random_results):
    results, truth, scores, there = random_results

    evaluation, _ = evaluate_job(results, truth)

    for stage in Stage:
        expected = [
            average_precision_score(there[:, c].numpy(), scores[stage][:, c].numpy())
            for c in range(3)
        ]
        found = evaluation["stages"][stage]
        by_class = [one["average_precision"] for one in found["classes"]]
        assert by_class[:3] == pytest.approx(expected, abs=1e-9)
        assert by_class[3] is None
        assert found["map"] == pytest.approx(sum(expected) / 3, abs=1e-9)
    assert [one["support"] for one in evaluation["classes"]] == there.sum(0).tolist()
    assert evaluation["counts"]["classes_absent"] == 1


def test_the_students_thresholds_are_its_own_and_those_of_certain_stages_1(random_results):
    results, truth, scores, there = random_results

    stages = evaluate_job(results, truth)[0]["stages"]

    fires = scores[Stage.STUDENT][:, 0] >= 0.4
    student = stages["student"]["classes"]
    assert student[0]["at_threshold"]["threshold"] == 0.4
    assert student[0]["at_threshold"]["recall"] == pytest.approx(
        ((fires & there[:, 0]).sum() / there[:, 0].sum()).item()
    )
    assert student[2]["at_threshold"] == {
        "threshold": None,
        "precision": None,
        "recall": 0.0,
        "f1": 0.0,
    }
    assert stages["pseudo"]["classes"][0]["at_threshold"]["threshold"] == 1
    assert stages["debiased"]["classes"][0]["at_threshold"]["threshold"] == 1
    assert stages["global"]["at_thresholds"] is None
    assert stages["local"]["classes"][0]["at_threshold"] is None


def test_best_thresholds_are_the_students_and_exact(random_results):
    results, truth, scores, there = random_results

    evaluation, _ = evaluate_job(results, truth)

    best = evaluation["best_thresholds"]
    assert list(best) == CLASSES
    assert best["unicorn"] is None
    column = scores[Stage.STUDENT][:, 1]
    assert best["ant"] == best_f1_thresholds(column[:, None], there[:, 1:2], 1).item()
    fires = column.double() >= best["ant"]
    f1 = 2 * (fires & there[:, 1]).sum() / (fires.sum() + there[:, 1].sum())
    assert evaluation["stages"]["student"]["classes"][1]["at_best"]["f1"] == pytest.approx(
        f1.item()
    )


def test_steps_tell_which_one_helped(folder):
    targets = torch.zeros(4, 1)
    targets[:2] = 1
    scores = {
        Stage.GLOBAL: 1 - targets,  # all wrong: precision 1/3 and 2/4
        Stage.DEBIASED: 1 - targets,
        Stage.PSEUDO: targets,
        Stage.STUDENT: targets,
    }
    write_job(folder, scores, classes=["cat"], paths=list("abcd"))
    images = [
        TrueImage(p, frozenset({"cat"} if t else ())) for p, t in zip("abcd", targets, strict=True)
    ]

    evaluation, _ = evaluate_job(open_job(folder, JOB), make_truth(images, ["cat"]))

    steps = {step["step"]: step for step in evaluation["steps"]}
    assert steps["debiasing"]["map_change"] == 0
    assert steps["label update"]["map_change"] == pytest.approx(0.5)
    assert (steps["label update"]["classes_better"], steps["label update"]["classes_worse"]) == (
        1,
        0,
    )
    assert steps["training"]["map_change"] == 0
    assert steps["the whole method"]["map_change"] == pytest.approx(0.5)


def test_an_image_that_repeats_anothers_bytes_counts_with_its_score(folder):
    scores = {Stage.STUDENT: torch.tensor([[0.9], [0.1]])}
    write_job(folder, scores, classes=["cat"], paths=["a", "b", "again"], rows=[0, 1, 0])
    images = [
        TrueImage("a", frozenset({"cat"})),
        TrueImage("b", frozenset()),
        TrueImage("again", frozenset()),
    ]

    evaluation, _ = evaluate_job(open_job(folder, JOB), make_truth(images, ["cat"]))

    # Two images of score 0.9, one of them right.
    assert evaluation["stages"]["student"]["map"] == 0.5


def test_an_ignored_class_is_neither_right_nor_wrong(folder, tmp_path):
    scores = {Stage.STUDENT: torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])}
    write_job(folder, scores, classes=["chair", "cat"], paths=["a.jpg", "b.jpg", "c.jpg"])
    images = {
        "a": [voc_object("chair", difficult=1)],
        "b": [voc_object("chair")],
        "c": [voc_object("cat")],
    }
    write_voc(tmp_path / "VOC2012", images)

    truth = read_truth(tmp_path / "VOC2012")
    evaluation, _ = evaluate_job(open_job(folder, JOB), truth)

    chair = evaluation["stages"]["student"]["classes"][0]
    assert (chair["name"], chair["average_precision"]) == ("chair", 1.0)
    assert evaluation["classes"][0] == {"name": "chair", "support": 1, "ignored": 1}
    assert evaluation["counts"]["matched_by"] == {"path": 0, "tail": 0, "stem": 3}


def test_what_has_no_partner_is_listed_and_changes_no_figure(random_results):
    results, truth, _, _ = random_results
    matched = list(truth.images.values())[:-2]
    plain, _ = evaluate_job(results, make_truth(matched, CLASSES[:3]))
    more = [
        *matched,
        TrueImage("elsewhere/1.jpg", frozenset({"ant", "gnu"})),
        TrueImage("x/sub/001.jpg", frozenset({"ant"})),
    ]
    classes = ["ant", "tvmonitor", "gnu", "zebr", "zebra"]
    renamed = [
        TrueImage(i.path, frozenset("tvmonitor" if n == "tv" else n for n in i.labels))
        for i in more
    ]

    evaluation, _ = evaluate_job(results, make_truth(renamed, classes))

    assert evaluation["counts"]["matched"] == IMAGES - 2
    assert evaluation["unmatched"] == ["elsewhere/1.jpg"]
    assert evaluation["ambiguous"] == ["x/sub/001.jpg"]
    assert evaluation["untold"] == PATHS[-2:]
    assert evaluation["renamed"] == {"tvmonitor": "tv"}
    assert evaluation["only_in_truth"] == {"gnu": [], "zebr": ["zebra"]}
    assert evaluation["only_in_job"] == ["unicorn"]
    codes = {warning["code"]: warning["count"] for warning in evaluation["warnings"]}
    assert codes == {
        "truth_unmatched": 1,
        "truth_ambiguous": 1,
        "class_only_in_truth": 2,
        "class_only_in_job": 1,
    }
    assert evaluation["counts"]["classes_absent"] == 0
    assert evaluation["stages"] == plain["stages"]


def test_a_class_that_no_image_shows_is_told(random_results):
    results, truth, _, _ = random_results

    evaluation, _ = evaluate_job(results, truth)

    assert [warning["code"] for warning in evaluation["warnings"]] == ["class_absent"]
    assert evaluation["counts"]["classes_absent"] == 1


def test_classes_that_a_map_joins_are_there_if_one_of_them_is(folder):
    scores = {Stage.STUDENT: torch.tensor([[0.9], [0.8], [0.7]])}
    write_job(folder, scores, classes=["cat"], paths=["a", "b", "c"])
    images = [
        TrueImage("a", frozenset({"kitten"}), ignored=frozenset({"cat"})),
        TrueImage("b", frozenset({"cat"})),
        TrueImage("c", frozenset({"dog"}), ignored=frozenset({"kitten"})),
    ]
    truth = make_truth(images, ["cat", "kitten", "dog"])
    class_map = {"kitten": "cat", "dog": None}

    evaluation, _ = evaluate_job(open_job(folder, JOB), truth, class_map=class_map)

    assert evaluation["classes"] == [{"name": "cat", "support": 2, "ignored": 1}]
    assert evaluation["only_in_truth"] == {}


def test_without_any_positive_there_is_no_mean(folder):
    write_job(folder, {Stage.STUDENT: torch.rand(2, 1)}, classes=["cat"], paths=["a", "b"])
    images = [TrueImage("a", frozenset()), TrueImage("b", frozenset())]

    evaluation, curves = evaluate_job(open_job(folder, JOB), make_truth(images, ["cat"]))

    for stage in Stage:
        found = evaluation["stages"][stage]
        assert (found["map"], found["at_best"]["cf1"], found["calibration_error"]) == (None,) * 3
        assert curves[stage] == {"cat": []}
    assert evaluation["steps"][0]["map_change"] is None


@pytest.mark.parametrize(
    ("truth", "code", "said"),
    [
        (
            make_truth([TrueImage("other/x.jpg", frozenset({"ant"}))]),
            "truth_images_differ",
            "the truth has 'other/x.jpg', the job 'sub/000.jpg'",
        ),
        (
            make_truth([TrueImage(PATHS[0], frozenset({"gnu"}))], ["gnu"]),
            "truth_classes_differ",
            "it has gnu, the job has zebra, ant, tv, unicorn",
        ),
    ],
)
def test_a_truth_about_something_else_is_refused(random_results, truth, code, said):
    with pytest.raises(TruthError) as caught:
        evaluate_job(random_results[0], truth)

    assert caught.value.code == code
    assert said in caught.value.message


def test_curves_end_where_every_positive_is_found(random_results):
    results, truth, _, _ = random_results

    _, curves = evaluate_job(results, truth)

    for name in CLASSES[:3]:
        assert curves["student"][name][-1][1] == 1
    assert curves["student"]["unicorn"] == []


def test_progress_counts_the_images_of_every_stage(random_results):
    results, truth, _, _ = random_results
    told = []

    evaluate_job(results, truth, on_images=told.append)

    assert told == [IMAGES * k for k in range(1, 6)]


# What is kept


def test_an_evaluation_is_kept_and_not_made_again(folder, random_results):
    results, truth, _, _ = random_results
    assert newest_evaluation(folder, JOB) is None

    name = publish(results, truth, class_map=None, nonce="n1")

    def forbidden(_):
        raise AssertionError("it was made again")

    assert publish(results, truth, class_map={}, nonce="n2", on_images=forbidden) == name
    kept = newest_evaluation(folder, JOB)
    assert kept["curves"]["student"]["ant"]
    assert (
        kept["stages"]["student"]["map"]
        == evaluate_job(results, truth)[0]["stages"]["student"]["map"]
    )


def test_another_truth_map_or_threshold_is_another_evaluation(folder, random_results):
    results, truth, scores, _ = random_results
    first = publish(results, truth, class_map=None, nonce="n1")
    images = list(truth.images.values())
    other = make_truth([TrueImage(PATHS[0], images[0].labels ^ {"ant"}), *images[1:]])

    names = {
        first,
        publish(results, other, class_map=None, nonce="n1"),
        publish(results, truth, class_map={"ant": None}, nonce="n1"),
    }
    folder.discard(folder.job(JOB) / "student")
    write_job(folder, scores, classes=CLASSES, paths=PATHS, thresholds=[0.4, 0.6, None, 0.7])
    names.add(publish(open_job(folder, JOB), truth, class_map=None, nonce="n1"))

    assert len(names) == 4


def test_the_digest_of_a_truth_tells_labels_from_ignored_classes():
    there = make_truth([TrueImage("a", frozenset({"ant"}))])
    unsure = make_truth([TrueImage("a", frozenset(), ignored=frozenset({"ant"}))])

    assert digest_of_truth(there) != digest_of_truth(unsure)
    assert digest_of_truth(there) == digest_of_truth(
        make_truth([TrueImage("a", frozenset({"ant"}))])
    )


# A job that cannot be read


@pytest.mark.parametrize(
    ("job_id", "code", "said"),
    [
        ("job_none", "job_not_found", "there is no job 'job_none'"),
        ("../datasets", "job_not_found", "there is no job"),
        ("stu_0123456789", "job_not_found", "there is no job"),
    ],
)
def test_a_job_that_is_none_is_told_with_those_that_there_are(
    folder, random_results, job_id, code, said
):
    with pytest.raises(JobUnreadable, match=said) as caught:
        open_job(folder, job_id)

    assert caught.value.code == code
    assert JOB in caught.value.hint


def test_a_job_that_has_not_succeeded_has_no_results(folder, random_results):
    result = folder.job(JOB) / "result.json"
    result.write_text(json.dumps({"status": "failed", "error": {"message": "no room"}}))
    with pytest.raises(JobUnreadable, match="is failed: no room"):
        open_job(folder, JOB)

    result.unlink()
    with pytest.raises(JobUnreadable, match="has not succeeded"):
        open_job(folder, JOB)


def test_a_damaged_file_is_not_evaluated(folder, random_results):
    results, truth, _, _ = random_results
    damaged = folder.phase(results.outputs["update", 0]) / "labels.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)

    with pytest.raises(JobUnreadable, match="no longer has its checksums"):
        evaluate_job(open_job(DataFolder(folder.root), JOB), truth)


# The command line


@pytest.fixture
def alone_on_stdout():
    """A service that other tests have in a thread of this process says nothing there."""
    with capture_logs():
        yield


@pytest.fixture
def truth_file(tmp_path, random_results):
    _, truth, _, _ = random_results
    path = tmp_path / "truth.csv"
    rows = [f"{image.path},{';'.join(image.labels)}" for image in truth.images.values()]
    path.write_text("\n".join(["path,labels", *rows]))
    return path


@pytest.mark.usefixtures("alone_on_stdout")
def test_the_command_prints_tables(folder, truth_file, capsys):
    code = main([JOB, f"--truth={truth_file}", f"--data={folder.root}"])

    said = capsys.readouterr().out
    assert code == 0
    for word in (*Stage, "mAP", "label update", "zebra", "class_only_in_job"):
        assert word in said


@pytest.mark.usefixtures("alone_on_stdout")
def test_the_command_prints_and_writes_json(folder, truth_file, tmp_path, capsys):
    out = tmp_path / "evaluation.json"

    code = main([JOB, f"--truth={truth_file}", f"--data={folder.root}", f"--out={out}", "--json"])

    printed = json.loads(capsys.readouterr().out)
    assert code == 0
    assert printed == json.loads(out.read_text())
    assert not math.isnan(printed["stages"]["student"]["map"])
    assert printed["curves"]["student"]["ant"]


@pytest.mark.usefixtures("alone_on_stdout")
def test_the_command_takes_a_zip(folder, truth_file, tmp_path, capsys):
    archive = tmp_path / "truth.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(truth_file, "truth/truth.csv")

    code = main([JOB, f"--truth={archive}", f"--data={folder.root}", "--json"])

    assert code == 0
    assert json.loads(capsys.readouterr().out)["counts"]["matched"] == IMAGES


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--class=ant=gnu"], "'gnu', which is no class of the job"),
        (["--format=coco"], "truth.csv"),
        (["--split=train"], "the format csv has no splits"),
    ],
)
def test_what_cannot_be_used_is_said_without_a_trace(folder, truth_file, capsys, options, said):
    code = main([JOB, f"--truth={truth_file}", f"--data={folder.root}", *options])

    assert code == 1
    assert said in capsys.readouterr().err


def test_ccd_evaluate_needs_no_service(folder, truth_file):
    command = [sys.executable, "-m", "app.cli", "evaluate", JOB, "--truth", truth_file]

    found = subprocess.run(
        [*command, "--data", folder.root, "--class", "ant=", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["only_in_job"] == ["ant", "unicorn"]


def test_a_map_that_is_none_is_a_wrong_command_line(truth_file, capsys):
    with pytest.raises(SystemExit) as caught:
        main([JOB, f"--truth={truth_file}", "--class=ant"])

    assert caught.value.code == 2
    assert "must be NAME=CLASS, is 'ant'" in capsys.readouterr().err
