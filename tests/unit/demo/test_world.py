import json
from functools import cache
from itertools import pairwise

import pytest

from demo.catalogue import ALOFT, DISTRACTORS, PAINTERS, TARGETS, THEMES
from demo.places import PLACES, SIDE
from demo.world import (
    CLASSES,
    DEMO_SEED,
    EVALUATION_SEEDS,
    INSTANCES,
    TEACHER_SEEDS,
    TUNING_SEEDS,
    WORLD,
    WorldSettings,
    draw_scene,
    instances,
    main,
    write_world,
)
from workers.truth.read import read_truth

SEED = 7


@cache
def scenes():
    return [draw_scene(SEED, index) for index in range(160)]


def test_a_scene_does_not_depend_on_what_was_drawn_before():
    drawn_among_others = scenes()[5]
    drawn_alone = draw_scene(SEED, 5)

    assert drawn_alone.jpeg() == drawn_among_others.jpeg()
    assert drawn_alone.targets == drawn_among_others.targets


def test_another_seed_or_index_gives_another_scene():
    pictures = {draw_scene(seed, index).jpeg() for seed in (1, 2) for index in (0, 1)}

    assert len(pictures) == 4


def test_a_scene_is_a_square_colour_picture():
    assert {(scene.image.size, scene.image.mode) for scene in scenes()} == {((SIDE, SIDE), "RGB")}


def test_every_box_lies_inside_the_picture():
    for scene in scenes():
        for thing in (*scene.targets, *scene.distractors):
            x0, y0, x1, y1 = thing.box
            assert 0 <= x0 < x1 <= SIDE
            assert 0 <= y0 < y1 <= SIDE


def test_labels_are_the_names_of_the_target_boxes_each_once_in_class_order():
    for scene in scenes():
        names = {thing.name for thing in scene.targets}
        assert scene.labels == tuple(name for name in CLASSES if name in names)


def test_targets_are_classes_and_distractors_are_not():
    for scene in scenes():
        assert all(thing.name in TARGETS for thing in scene.targets)
        assert all(thing.name in DISTRACTORS for thing in scene.distractors)


def test_about_a_tenth_of_the_scenes_show_no_class():
    without = sum(not scene.labels for scene in scenes()) / len(scenes())

    assert 0.05 < without < 0.16  # 0.1 wanted; standard error 0.019


def test_a_world_without_target_scenes_can_be_drawn():
    settings = WorldSettings(none_share=1.0)

    assert not any(draw_scene(SEED, index, settings).labels for index in range(20))


def test_objects_range_from_half_a_percent_to_a_large_part_of_the_picture():
    areas = [thing.area for scene in scenes() for thing in scene.targets]

    assert min(areas) == pytest.approx(WORLD.smallest, rel=0.2)
    assert WORLD.largest * 0.8 < max(areas) <= WORLD.largest * 1.05
    assert 0.2 < sum(area < 0.02 for area in areas) / len(areas) < 0.55
    assert 0.1 < sum(area > 0.12 for area in areas) / len(areas) < 0.4


def test_scenes_hold_one_to_four_targets():
    counts = {len(scene.targets) for scene in scenes() if scene.labels}

    assert counts == {1, 2, 3, 4}


def test_classes_of_one_theme_come_together_more_often_than_chance():
    both = sum({"cup", "bottle"} <= set(scene.labels) for scene in scenes())
    cup, bottle = (sum(name in scene.labels for scene in scenes()) for name in ("cup", "bottle"))

    assert both > 1.5 * cup * bottle / len(scenes())


def test_every_class_is_drawn():
    assert {name for scene in scenes() for name in scene.labels} == set(CLASSES)


def test_a_weight_of_zero_keeps_a_class_out():
    settings = WorldSettings(weights={"dog": 0.0})

    assert not any("dog" in draw_scene(SEED, index, settings).labels for index in range(60))


def test_no_two_objects_cover_each_other():
    for scene in scenes()[:80]:
        things = sorted((*scene.targets, *scene.distractors), key=lambda thing: -thing.area)
        for larger, smaller in pairwise(things):
            left, top = (max(larger.box[k], smaller.box[k]) for k in (0, 1))
            right, bottom = (min(larger.box[k], smaller.box[k]) for k in (2, 3))
            shared = max(0, right - left) * max(0, bottom - top) / SIDE**2
            assert shared <= 0.31 * smaller.area


def test_an_object_differs_from_the_ground_behind_it():
    settings = WorldSettings(none_share=0.0, counts=(1.0,), smallest=0.2, clutter=0)
    for index in range(8):
        scene = draw_scene(SEED, index, settings)
        picture = scene.image.crop(scene.targets[0].box).convert("L")
        low, high = picture.getextrema()
        assert high - low > 60


def test_the_seeds_of_teacher_tuning_evaluation_and_demo_are_disjoint():
    seeds = (*TEACHER_SEEDS, *TUNING_SEEDS, *EVALUATION_SEEDS, DEMO_SEED)

    assert len(set(seeds)) == len(seeds)


def test_themes_name_only_places_and_objects_that_can_be_drawn():
    assert {theme.place for theme in THEMES} == set(PLACES)
    for theme in THEMES:
        assert set(theme.targets) <= set(TARGETS)
        assert set(theme.distractors) <= set(DISTRACTORS)
    assert set(PAINTERS) >= ALOFT


def test_a_written_world_can_be_read_back(tmp_path):
    truth = write_world(tmp_path, count=3, seed=SEED, start=4)

    assert json.loads((tmp_path / "truth.json").read_text()) == truth
    assert truth["classes"] == list(CLASSES)
    assert list(truth["images"]) == [f"scene_00000{index}.jpg" for index in (4, 5, 6)]
    for index, (name, facts) in enumerate(truth["images"].items(), start=4):
        scene = draw_scene(SEED, index)
        assert (tmp_path / name).read_bytes() == scene.jpeg()
        assert facts["labels"] == list(scene.labels)
        assert facts["targets"] == [
            {"name": thing.name, "box": list(thing.box)} for thing in scene.targets
        ]


def test_instances_tell_labels_and_boxes_as_coco_does(tmp_path):
    told = write_world(tmp_path, count=12, seed=SEED)
    (tmp_path / INSTANCES).write_text(json.dumps(instances(told)))

    truth = read_truth(tmp_path / INSTANCES)

    assert truth.classes == CLASSES
    assert list(truth.images) == list(told["images"])
    for name, facts in told["images"].items():
        assert truth.images[name].labels == set(facts["labels"])
        boxes = [(box.name, list(box.xyxy)) for box in truth.images[name].boxes]
        assert boxes == [(thing["name"], thing["box"]) for thing in facts["targets"]]


def test_the_command_line_writes_scenes_and_both_truths(tmp_path, monkeypatch):
    command = ["world", str(tmp_path / "out"), "--count", "2", "--start", "5", "--seed", "7"]
    monkeypatch.setattr("sys.argv", command)

    main()

    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["instances.json", "scene_000005.jpg", "scene_000006.jpg", "truth.json"]
    assert (tmp_path / "out" / "scene_000005.jpg").read_bytes() == draw_scene(7, 5).jpeg()
