"""The paper's experiments on a few drawn scenes, as their command line runs them."""

import io
import json
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from functools import partial

import pytest
from defusedxml.ElementTree import fromstring as parse
from PIL import Image
from typer.testing import CliRunner

from app.cli import app
from demo.world import CLASSES, INSTANCES, instances, write_world
from tests.truths import (
    nus_concepts,
    voc_object,
    write_coco,
    write_lists,
    write_nus_wide,
    write_voc,
)
from workers.experiments import ablation, alpha, headline, views
from workers.experiments.main import EXIT_REFUSED, main
from workers.experiments.plots import plot
from workers.experiments.report import read_outcome

SEED = 7
TRAIN, TEST = 12, 8
#: One epoch of each kind, on few images.
QUICK = ["--preset", "tiny", "--threads", "1", "--config", "warm_up_epochs=1"]
QUICK += ["--config", "train_epochs=1", "--config", "batch_size=6", "--config", "cam_size=64"]
QUICK += ["--config", "student_size=64", "--config", "student_stride=32"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A folder with training and held-out scenes, and what is true of both."""
    root = tmp_path_factory.mktemp("scenes")
    told = {}
    for part, count, start in (("train", TRAIN, 0), ("test", TEST, TRAIN)):
        told[part] = write_world(root / part, count=count, seed=SEED, start=start)
        (root / part / INSTANCES).write_text(json.dumps(instances(told[part])))
    return root, told


def reproduce(scenes, folder, experiment, *options):
    """The outcome of a command on the scenes, and what it printed."""
    root, _ = scenes
    command = [experiment, str(root / "train"), "--truth", str(root / "train" / INSTANCES)]
    if experiment != "views":
        command += ["--test", str(root / "test"), "--test-truth", str(root / "test" / INSTANCES)]
    where = ["--out", str(folder / "out"), "--work", str(folder / "work")]
    with redirect_stdout(io.StringIO()) as printed:
        assert main([*command, *QUICK, *where, "--seeds", "1", *options]) == 0
    return read_outcome(folder / "out" / f"{experiment}.json"), printed.getvalue()


@pytest.fixture(scope="module")
def done(scenes, tmp_path_factory):
    """All three experiments, `alpha` before `ablation`: folder, outcomes, what they printed."""
    folder = tmp_path_factory.mktemp("done")
    found = {name: reproduce(scenes, folder, name) for name in ("alpha", "ablation", "views")}
    outcomes = {name: outcome for name, (outcome, _) in found.items()}
    return folder, outcomes, {name: printed for name, (_, printed) in found.items()}


def made(printed):
    """How many pieces of work a command says that it computed."""
    return int(re.search(r"(\d+) pieces made now", printed)[1])


def test_views_measures_every_way_to_look(done):
    outcome = done[1]["views"]

    assert outcome.names(views.AVERAGED) == [views.WHOLE, *views.KINDS]
    assert outcome.spread(views.SEEN, views.AROUND).mean == 100
    assert outcome.spread(views.SEEN, views.GRID).mean == 100
    assert outcome.spread(views.COUNT, views.RANDOM).mean == 9
    # The teacher was made to see objects close by and to miss them in a whole scene.
    assert outcome.gain(views.ALONE, views.AROUND, views.WHOLE).mean > 10


def test_ablation_tells_every_row_and_the_gain_by_class(done):
    outcome = done[1]["ablation"]

    assert outcome.names(ablation.STUDENTS) == [ablation.NONE, *ablation.VARIANTS]
    assert outcome.names(ablation.BIAS) == sorted(CLASSES)
    assert outcome.names(ablation.AP_OF + ablation.BOTH) == sorted(CLASSES)
    assert outcome.published[ablation.STUDENTS][ablation.BOTH] == 90.1


def test_alpha_has_a_curve_and_the_line_to_beat(done):
    outcome = done[1]["alpha"]

    curve = [alpha.name_of(value) for value in alpha.ALPHAS]
    assert alpha.curve(outcome) == curve
    assert outcome.names(alpha.LABELS) == [*curve, alpha.CDUL]
    assert outcome.names(alpha.STUDENTS) == [*curve, alpha.CDUL, alpha.CDUL_CONSISTENT]


def test_experiments_share_what_has_the_same_inputs(done):
    # What "+ both" needs is there: it is alpha 0.4. Of the debiased student without consistency
    # the warm-up and the views are there. New are the warm-up and the views without debiasing,
    # and an epoch, the choice and the scores of three more students.
    assert made(done[2]["ablation"]) == 2 + 3 * 4


def test_a_second_run_computes_nothing_and_finds_the_same(scenes, done):
    folder, outcomes, _ = done

    again, printed = reproduce(scenes, folder, "alpha")

    assert made(printed) == 0
    assert again == outcomes["alpha"]


def test_one_more_seed_leaves_the_others_as_they_are(scenes, done, tmp_path):
    folder, outcomes, _ = done
    shutil.copytree(folder, tmp_path / "copy")

    both, _ = reproduce(scenes, tmp_path / "copy", "views", "--seeds", "1", "2")

    assert both.seeds == [1, 2]
    for group, names in outcomes["views"].figures.items():
        for name, values in names.items():
            assert both.figures[group][name][:1] == values


def test_an_experiment_that_was_killed_goes_on_where_it_was(scenes, tmp_path, monkeypatch):
    class Killed(BaseException):
        """Nobody catches it."""

    def die(*_arguments):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("workers.experiments.lab.Lab.local_views", die)
        with pytest.raises(Killed):
            reproduce(scenes, tmp_path, "views")
    pieces = {path.name for path in (tmp_path / "work" / "phases").iterdir()}

    _, printed = reproduce(scenes, tmp_path, "views")

    everything = {path.name for path in (tmp_path / "work" / "phases").iterdir()}
    assert len(pieces) == 6  # the list of images, whole views, four ways to look
    assert made(printed) == len(everything - pieces) == 2  # the warm-up, and where it looked


@pytest.mark.parametrize("experiment", ["views", "ablation", "alpha"])
def test_pictures_are_whole_and_name_what_they_show(done, experiment):
    folder = done[0] / "out"

    drawn = (folder / f"{experiment}.svg").read_text()
    assert parse(drawn, forbid_dtd=False).tag.endswith("svg")
    assert "mAP" in drawn
    with Image.open(folder / f"{experiment}.png") as picture:
        picture.load()
        assert len(picture.convert("RGB").getcolors(picture.width * picture.height)) > 10


def test_the_same_outcome_gives_the_same_picture(done, tmp_path):
    folder, outcomes, _ = done

    plot(outcomes["alpha"], tmp_path)

    assert (tmp_path / "alpha.svg").read_bytes() == (folder / "out" / "alpha.svg").read_bytes()


def test_the_command_line_hands_over_to_the_heavy_half():
    command = [sys.executable, "-m", "app.cli", "reproduce", "views", "--help"]

    asked = subprocess.run(command, capture_output=True, text=True, check=True)

    assert "ccd reproduce views" in asked.stdout
    assert "--truth" in asked.stdout


def test_without_torch_the_command_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr("app.cli.find_spec", lambda _name: None)

    answer = CliRunner().invoke(app, ["reproduce", "views"])

    assert answer.exit_code == 2
    assert "the extra `worker`" in answer.stderr


# What cannot be used


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--classes", "caat"], "did you mean 'cat'"),
        (["--config", "alpha=2"], "alpha must"),
        (["--config", "alpha"], "name=value"),
        (["--alphas", "0", "1.5"], "alpha must"),
        (["--test", "somewhere"], "--test-truth"),
    ],
)
def test_a_wrong_option_is_refused_with_the_reason(scenes, tmp_path, capsys, options, told):
    root, _ = scenes
    command = ["alpha", str(root / "train"), "--truth", str(root / "train" / INSTANCES)]
    where = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]

    assert main([*command, *QUICK, *where, *options]) == EXIT_REFUSED
    assert told in capsys.readouterr().err


def test_views_without_boxes_is_refused(scenes, tmp_path, capsys):
    root, told = scenes
    rows = [
        f"{name},{';'.join(facts['labels'])}" for name, facts in told["train"]["images"].items()
    ]
    truth = tmp_path / "truth.csv"
    truth.write_text("path,labels\n" + "\n".join(rows) + "\n")
    where = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]

    assert main(["views", str(root / "train"), "--truth", str(truth), *QUICK, *where]) == (
        EXIT_REFUSED
    )
    assert "true boxes" in capsys.readouterr().err


# The benchmarks of the literature, in miniature


def write_voc_miniature(root, told, splits=("train", "val")):
    """`VOCdevkit/VOC2012` with the scenes as its images."""
    folder = root / "VOCdevkit" / "VOC2012"
    annotations, lists = {}, {}
    for split, part in zip(splits, ("train", "test"), strict=True):
        for name, facts in told[part]["images"].items():
            id = f"2008_{name.removeprefix('scene_').removesuffix('.jpg')}"
            objects = [(t["name"], t["box"]) for t in facts["targets"]]
            annotations[id] = [
                voc_object(name, box=(x0 + 1, y0 + 1, x1, y1)) for name, (x0, y0, x1, y1) in objects
            ]
            lists.setdefault(split, []).append(id)
            copy(root, part, name, folder / "JPEGImages" / f"{id}.jpg")
    write_voc(folder, annotations)
    write_lists(folder, lists)


def write_coco_miniature(root, told):
    """`train2014`, `val2014` and `annotations`, as the archives unpack."""
    (root / "annotations").mkdir()
    for part, split in (("train", "train2014"), ("test", "val2014")):
        content = instances(told[part])
        for image in content["images"]:
            name = f"COCO_{split}_{image['id']:012d}.jpg"
            copy(root, part, image["file_name"], root / split / name)
            image["file_name"] = name
        write_coco(root / "annotations" / f"instances_{split}.json", content)


def write_nus_miniature(root, told):
    """`Flickr`, `ImageList`, `ConceptsList` and `Groundtruth` with 81 concepts."""
    images_of, positives = {}, {}
    for part in ("train", "test"):
        for name, facts in told[part]["images"].items():
            images_of.setdefault(part, []).append(rf"actor\{name}")
            copy(root, part, name, root / "Flickr" / "actor" / name)
            for label in facts["labels"]:
                positives.setdefault(label, []).append(rf"actor\{name}")
    concepts = [*CLASSES, *nus_concepts()[2 : 81 - len(CLASSES) + 2]]
    write_nus_wide(root, concepts=concepts, positives=positives, images_of=images_of)


def copy(root, part, name, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(root.parent / part / name, target)


MINIATURES = {
    "voc2012": write_voc_miniature,
    "voc2007": partial(write_voc_miniature, splits=("trainval", "test")),
    "coco2014": write_coco_miniature,
    "nuswide": write_nus_miniature,
}


@pytest.fixture(scope="module")
def shared_work(tmp_path_factory):
    """The miniatures have the same images, so most of what one computes is there for the next."""
    return tmp_path_factory.mktemp("work")


@pytest.mark.parametrize("benchmark", MINIATURES)
def test_headline_runs_from_end_to_end_on_a_miniature(scenes, shared_work, tmp_path, benchmark):
    root, told = scenes
    shutil.copytree(root, tmp_path / "copy")
    miniature = tmp_path / "copy" / "miniature"
    miniature.mkdir()
    MINIATURES[benchmark](miniature, told)
    parts = {part: [facts["labels"] for facts in told[part]["images"].values()] for part in told}
    there = sorted({label for part in parts.values() for labels in part for label in labels})
    where = ["--out", str(tmp_path), "--work", str(shared_work), "--classes", ",".join(there)]

    command = ["headline", benchmark, str(miniature), "--baseline", *QUICK, *where]
    assert main([*command, "--seeds", "1"]) == 0

    outcome = read_outcome(tmp_path / f"headline-{benchmark}.json")
    ours = [headline.WHOLE_METHOD, headline.TEACHER, headline.BASELINE]
    assert outcome.names(headline.HELD_OUT) == ours
    assert outcome.names(headline.BY_CLASS) == there
    counted = [
        sum(bool(labels) or benchmark != "coco2014" for labels in parts[part])
        for part in ("train", "test")
    ]
    assert [outcome.data["images"], outcome.data["held out"]] == counted
    assert f"{len(there)} classes, the literature has" in outcome.notes[-1]
    published = outcome.published[headline.HELD_OUT]["CCD"]
    assert f"| CCD |  |  |  | {published} |" in (tmp_path / f"headline-{benchmark}.md").read_text()
    assert (tmp_path / f"headline-{benchmark}.svg").exists()


def test_headline_names_what_a_folder_lacks(tmp_path, capsys):
    assert main(["headline", "coco2014", str(tmp_path), *QUICK]) == EXIT_REFUSED
    assert "annotations/instances_val2014.json" in capsys.readouterr().err
