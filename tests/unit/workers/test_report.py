"""The report of a job: its figures, and a page that needs nothing and shows names as text."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from typer.testing import CliRunner

from app.cli import app
from benchmarks.made_up import DATASET, JOB, write_job
from tests.reports import CLASSES, COUNT, EVIL_CLASS, EVIL_FILE, QUICK, made_up
from workers.files import DataFolder, read_json, write_json
from workers.job_files import JobFiles
from workers.outcomes import CANCELLED, RESULT
from workers.report import GROUP_SIZE, GROUPS, build, shown_images
from workers.report_command import main
from workers.results import JobUnreadable


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The files of a made-up job."""
    folder = tmp_path_factory.mktemp("job")
    data = DataFolder(folder / "data")
    write_job(data, made_up(folder), QUICK)
    return JobFiles.of_finished(data, JOB)


@pytest.fixture(scope="module")
def report(job):
    return build(job)


class Page(HTMLParser):
    """Elements with their attributes, and the text between them."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts, self.names, self._open = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_data(self, data):
        if self.elements and self.elements[-1] == ("span", {"class": "name"}) and data.strip():
            self.names.append(data)
        if self._open and self._open[-1] not in {"style", "script"}:
            self.texts.append(data.strip())

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(report):
    return Page(report.page)


def test_names_of_files_and_classes_are_text(page):
    assert EVIL_FILE in page.texts
    assert EVIL_CLASS in page.texts
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.of("img"))
    assert page.of("b") == []


def test_the_page_has_one_script_and_one_style_and_its_policy_names_them(page, report):
    (policy,) = [m["content"] for m in page.of("meta") if "http-equiv" in m]

    for directive, element in (("style-src", "style"), ("script-src", "script")):
        (own,) = re.findall(f"<{element}>(.*?)</{element}>", report.page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert len(page.of("script")) == len(page.of("style")) == 1
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy


def test_the_page_loads_nothing_and_has_no_handlers(page, report):
    asked = [a[key] for _, a in page.elements for key in ("src", "href", "action") if key in a]

    assert all(address.startswith(("data:image/jpeg", "#")) for address in asked)
    assert not [key for _, a in page.elements for key in a if key.startswith("on")]
    assert not [a for _, a in page.elements if "style" in a]
    assert "url(" not in report.page


def test_the_gallery_shows_no_more_than_it_may_and_a_map_for_each_picture(page):
    assert page.of("img")
    assert len(page.of("img")) <= GROUP_SIZE * len(GROUPS)
    assert len(page.of("img")) == len(page.of("canvas"))


def test_the_page_calls_surest_what_is_so_among_the_images_of_no_other_group(page):
    """On a small set those are not far from their thresholds."""
    (note,) = [text for text in page.texts if "farthest from thresholds" in text]

    assert note.startswith("Of the labelled images in no group below")
    assert next(iter(GROUPS)) == "surest"


def test_an_activation_map_has_a_byte_for_every_cell(page):
    maps = [button for button in page.of("button") if "data-levels" in button]

    assert maps
    for button in maps:
        cells = len(re.sub("=+$", "", button["data-levels"])) * 3 // 4
        assert cells == int(button["data-columns"]) ** 2


def test_frames_lie_inside_their_picture(page):
    frames = [a for a in page.of("rect") if a["class"] == "halo"]

    assert frames
    for frame in frames:
        assert float(frame["x"]) + float(frame["width"]) <= 100.01
        assert float(frame["y"]) + float(frame["height"]) <= 100.01


def test_the_same_job_gives_the_same_bytes(job, report):
    again = build(job)

    assert again.page == report.page
    assert again.health == report.health


def test_figures_stand_in_the_order_in_which_the_classes_were_given(report):
    assert [entry["name"] for entry in report.health["classes"]] == CLASSES


def test_the_figures_are_json_and_those_of_the_files(job, report):
    health = json.loads(json.dumps(report.health, allow_nan=False))
    scores = job.tensors("score", "scores.safetensors")["probs"]
    column = job.names.index("zebra")

    assert health["images"] == {"files": COUNT, "distinct": COUNT}
    assert sum(health["labels_per_image"]) == COUNT
    zebra = health["classes"][0]
    assert zebra["labelled"] == int((scores[:, column] >= 0.5).sum())
    assert sum(zebra["histogram"]) == COUNT


def test_thresholds_in_force_decide_what_is_a_label(tmp_path):
    data = DataFolder(tmp_path / "data")
    write_job(data, made_up(tmp_path), QUICK)
    student = data.student("stu_" + JOB.removeprefix("job_"))
    listed = read_json(student / "student.json")
    write_json(student / "student.json", {**listed, "thresholds": [None] * len(CLASSES)})

    health = build(JobFiles.of_finished(data, JOB)).health

    assert [entry["labelled"] for entry in health["classes"]] == [0, 0, 0]
    assert health["labels_per_image"][0] == COUNT


def test_an_image_tells_the_classes_that_are_there_first(tmp_path):
    data = DataFolder(tmp_path / "data")
    scores = torch.tensor([[0.1, 0.6, 0.9, 0.3, 0.2, 0.4]])
    teacher = torch.tensor([[0.0, 0.9, 0.9, 0.8, 0.0, 0.0]])
    names = ["e", "b", "a", "c", "f", "d"]
    write_job(
        data, made_up(tmp_path, classes=names, count=1, scores=scores, teacher=teacher), QUICK
    )

    page = Page(build(JobFiles.of_finished(data, JOB)).page)

    # Labels by score, then what was only taught, then the nearest to its threshold of 0.5.
    assert page.names == ["a", "b", "c", "d", "f"]


def test_images_that_are_gone_leave_their_figures(tmp_path):
    made = made_up(tmp_path)
    data = DataFolder(tmp_path / "data")
    write_job(data, made, QUICK)
    (made.root / EVIL_FILE).unlink()
    (made.root / "plain.png").write_bytes(b"something else")

    found = Page(build(JobFiles.of_finished(data, JOB)).page)

    assert found.of("img") == []
    assert "This file is gone or has changed since." in found.texts
    assert not [button for button in found.of("button") if "data-levels" in button]


def test_a_report_outlives_the_dataset(tmp_path):
    data = DataFolder(tmp_path / "data")
    write_job(data, made_up(tmp_path), QUICK)
    data.discard(data.dataset(DATASET))

    assert Page(build(JobFiles.of_finished(data, JOB)).page).of("img") == []


def test_the_page_does_not_grow_with_the_number_of_images(tmp_path, report):
    data = DataFolder(tmp_path / "data")
    write_job(data, made_up(tmp_path, count=20 * COUNT), QUICK)

    larger = build(JobFiles.of_finished(data, JOB)).page

    assert len(larger) < 1.2 * len(report.page)


def test_one_class_alone_has_a_report(tmp_path):
    data = DataFolder(tmp_path / "data")
    config = replace(QUICK, background=True)
    write_job(data, made_up(tmp_path, classes=["cat"], count=20), config)

    assert build(JobFiles.of_finished(data, JOB)).health["together"] == []


def test_one_image_alone_has_a_report(tmp_path):
    data = DataFolder(tmp_path / "data")
    write_job(data, made_up(tmp_path, count=1), QUICK)

    assert build(JobFiles.of_finished(data, JOB)).health["images"]["distinct"] == 1


def test_of_a_small_set_every_image_is_looked_at_and_of_a_large_one_a_sample():
    assert shown_images(3) == 3
    assert shown_images(20_000) == GROUP_SIZE * len(GROUPS)


def test_somebody_is_told_how_far_it_is_and_may_stop_it(job):
    told = []
    build(job, on_image=told.append)

    def stop(done):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(job, on_image=stop)
    assert told[0] == 0
    assert told[-1] > 12
    assert told == sorted(told)


def evaluation_of(classes):
    stage = {
        "map": 0.625,
        "classes": [{"name": name, "average_precision": 0.5} for name in classes],
    }
    return {
        "stages": {"global": stage, "student": {**stage, "map": 0.75}},
        "classes": [{"name": name, "support": 7} for name in classes],
    }


def test_an_evaluation_is_shown_where_there_is_one(job, page):
    evaluation = evaluation_of(["zebra", "Ant"])
    evaluation["stages"]["student"]["classes"][0]["average_precision"] = None  # no image shows it

    evaluated = Page(build(job, evaluation=evaluation).page)

    assert {"62.5 mAP", "75.0 mAP", "50.0", "-", "7"} <= set(evaluated.texts)
    assert "Evaluation" in evaluated.texts
    assert "Evaluation" not in page.texts


def test_the_page_can_be_written_again_from_the_data_folder(job, report, tmp_path, capsys):
    out = tmp_path / "page.html"

    status = main([JOB, f"--data={job.folder.root}", f"--out={out}"])

    assert (status, capsys.readouterr().out) == (0, f"{out}\n")
    assert out.read_text() == report.page


def test_the_page_takes_an_evaluation_from_a_file(job, tmp_path):
    out, evaluation = tmp_path / "page.html", tmp_path / "evaluation.json"
    evaluation.write_text(json.dumps(evaluation_of(CLASSES)))

    assert (
        main([JOB, f"--data={job.folder.root}", f"--out={out}", f"--evaluation={evaluation}"]) == 0
    )
    assert "75.0 mAP" in Page(out.read_text()).texts


@pytest.mark.parametrize("content", ["no JSON", "[]", "{}", '{"stages": {"a": {}}, "classes": []}'])
def test_what_is_no_evaluation_is_refused_by_name(job, tmp_path, capsys, content):
    file = tmp_path / "other.json"
    file.write_text(content)

    assert main([JOB, f"--data={job.folder.root}", f"--evaluation={file}"]) == 1
    assert f"{file} is no evaluation" in capsys.readouterr().err


def test_a_job_that_is_not_there_is_told_with_those_that_are(job, capsys):
    assert main(["job_other", f"--data={job.folder.root}"]) == 1

    told = capsys.readouterr().err
    assert "job_other" in told
    assert JOB in told


def test_an_interrupt_ends_the_command_without_a_trace(job, monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("workers.report_command.build", interrupted)

    assert main([JOB, f"--data={job.folder.root}", f"--out={tmp_path / 'page.html'}"]) == 130


def test_a_wrong_setting_is_a_wrong_command_line(monkeypatch, tmp_path):
    monkeypatch.setenv("CCD_DATA", str(tmp_path))  # put back what the command sets
    monkeypatch.setenv("CCD_THREADS", "many")

    answer = CliRunner().invoke(app, ["report", JOB, "--data", str(tmp_path)])

    assert answer.exit_code == 2
    assert "ccd: CCD_THREADS: " in answer.stderr
    assert "is 'many'" in answer.stderr


def test_damaged_thresholds_are_told_without_a_trace(tmp_path, capsys):
    data = DataFolder(tmp_path / "data")
    write_job(data, made_up(tmp_path), QUICK)
    (data.job(JOB) / "thresholds" / "000002").mkdir(parents=True)

    assert main([JOB, f"--data={data.root}", f"--out={tmp_path / 'page.html'}"]) == 1
    assert "the newest version of the thresholds of" in capsys.readouterr().err


def test_a_job_that_failed_has_no_report(tmp_path):
    data = DataFolder(tmp_path / "data")
    write_job(data, made_up(tmp_path), QUICK)
    write_json(data.job(JOB) / "result.json", {"status": "failed", "error": {"message": "why"}})

    with pytest.raises(JobUnreadable, match="why"):
        JobFiles.of_finished(data, JOB)


def test_a_cancel_stands_above_the_result_that_the_last_unit_wrote(tmp_path):
    data = DataFolder(tmp_path / "data")
    write_job(data, made_up(tmp_path), QUICK)
    assert read_json(data.job(JOB) / RESULT)["status"] == "succeeded"
    write_json(data.job(JOB) / CANCELLED, {"status": "cancelled", "error": None})

    with pytest.raises(JobUnreadable, match=f"^{JOB} is cancelled$") as caught:
        JobFiles.of_finished(data, JOB)
    assert caught.value.code == "job_not_succeeded"


def test_views_are_those_of_their_images_whatever_shard_they_lie_in(job):
    everything = [views for shard in job.views() for views in rows_of(shard)]
    found = job.views_of([0, 39, 40, 149])

    for position, views in found.items():
        assert [(view.class_, view.box_xyxy) for view in views] == everything[position]
    probs = torch.cat(
        [job.tensors("localize", "views.safetensors", u)["local_probs"] for u in range(4)]
    )
    first = found[149][0]
    assert first.prob == probs[149, first.class_].item()


def rows_of(shard):
    for image in range(shard.num_images):
        rows = slice(*shard.offsets[image : image + 2].tolist())
        boxes = map(tuple, shard.boxes[rows].tolist())
        yield list(zip(shard.classes[rows].tolist(), boxes, strict=True))
