"""Paths and class names of a truth, and the images and classes they mean."""

import random

import pytest

from workers.truth import names
from workers.truth.match import match_paths
from workers.truth.names import match_classes
from workers.truth.truth import TruthError


def matched(truth, images):
    return dict(match_paths(truth, images).images)


@pytest.mark.parametrize(
    ("truth", "image", "rule"),
    [
        ("sub/a.jpg", "sub/a.jpg", "path"),
        ("a.jpg", "photos/a.jpg", "tail"),
        ("data/val/a.jpg", "val/a.jpg", "tail"),
        ("2008_000008", "JPEGImages/2008_000008.jpg", "stem"),
        ("val/a.png", "a.JPG", "stem"),
        ("v1.2", "v1.2.jpeg", "stem"),
    ],
)
def test_a_path_finds_its_image(truth, image, rule):
    match = match_paths([truth], [image])

    assert match.images == {truth: 0}
    assert {by for by, count in match.found_by.items() if count} == {rule}
    assert (match.unmatched, match.ambiguous, match.untold) == ((), (), ())


@pytest.mark.parametrize(
    ("truth", "image"),
    [("val/a.jpg", "train/a.jpg"), ("aa.jpg", "a.jpg"), ("b/a", "a/b.jpg"), ("v1", "v1.2.jpg")],
)
def test_a_path_of_another_folder_or_name_finds_none(truth, image):
    match = match_paths([truth], [image])

    assert match.images == {}
    assert (match.unmatched, match.untold) == ((truth,), (0,))


def test_a_path_that_could_mean_two_images_means_none():
    match = match_paths(["a.jpg"], ["x/a.jpg", "y/a.jpg"])

    assert (match.images, match.ambiguous, match.untold) == ({}, ("a.jpg",), (0, 1))


def test_two_paths_that_could_mean_one_image_mean_none():
    match = match_paths(["x/a.jpg", "y/a.jpg"], ["a.jpg"])

    assert (match.images, match.ambiguous, match.untold) == ({}, ("x/a.jpg", "y/a.jpg"), (0,))


def test_an_image_whose_own_path_is_there_is_not_given_to_another():
    match = match_paths(["x/a.jpg", "a.jpg"], ["a.jpg"])

    assert (match.images, match.ambiguous) == ({"a.jpg": 0}, ("x/a.jpg",))


def test_every_path_and_image_is_accounted_for_once():
    rng = random.Random(7)
    made = [f"{rng.choice('xyz')}/{rng.choice('pq')}/{i % 40}" for i in range(200)]
    images = sorted({f"{name}.jpg" for name in rng.sample(made, 60)})
    truth = sorted({name.split("/", rng.randrange(3))[-1] for name in rng.sample(made, 60)})

    match = match_paths(truth, images)

    assert sorted([*match.images, *match.unmatched, *match.ambiguous]) == truth
    assert sorted([*match.images.values(), *match.untold]) == list(range(len(images)))
    assert sum(match.found_by.values()) == len(match.images)
    assert match.images
    assert match.unmatched
    assert match.ambiguous


def test_each_of_many_images_of_one_name_is_found():
    """20,000 folders with an `image.jpg` each: a search by name alone would look at 4 x 10^8."""
    images = [f"{i}/image.jpg" for i in range(20_000)]

    assert matched(images[::-1], images) == {path: i for i, path in enumerate(images)}
    assert len(matched([f"data/{path}" for path in images], images)) == 20_000


VOC = ("aeroplane", "diningtable", "motorbike", "pottedplant", "sofa", "tvmonitor")


@pytest.mark.parametrize(
    "job",
    [
        ("aeroplane", "diningtable", "motorbike", "pottedplant", "sofa", "tvmonitor"),
        ("aeroplane", "dining table", "motorbike", "potted plant", "sofa", "tv monitor"),
        ("airplane", "Dining-Table", "motorcycle", "POTTED_PLANT", "couch", "tv"),
    ],
)
def test_names_of_voc_are_found_however_they_are_spelt(job):
    match = match_classes(VOC, job)

    assert match.classes == dict(zip(VOC, job, strict=True))
    assert match.renamed == {a: b for a, b in zip(VOC, job, strict=True) if a != b}


def test_classes_of_one_side_alone_are_told_with_the_nearest():
    match = match_classes(["cat", "bicycel"], ["cat", "bicycle", "dog"])

    assert match.classes == {"cat": "cat"}
    assert match.only_in_truth == {"bicycel": ("bicycle",)}
    assert match.only_in_job == ("bicycle", "dog")


def test_the_nearest_are_looked_up_for_some_classes_alone(monkeypatch):
    looked_up = []
    monkeypatch.setattr(names, "_nearest", lambda name, _: looked_up.append(name) or ("cat",))

    match = match_classes(["cat", *(f"cat{i}" for i in range(20_000))], ["cat"])

    assert len(match.only_in_truth) == 20_000
    assert looked_up == [name for name, near in match.only_in_truth.items() if near]
    assert len(looked_up) == names.MAX_WITH_NEAREST


def test_a_map_joins_classes_and_leaves_others_out():
    class_map = {"kitten": "cat", "dog": None}

    match = match_classes(["cat", "kitten", "dog", "bus"], ["cat", "dog", "bus"], class_map)

    assert match.classes == {"kitten": "cat", "cat": "cat", "bus": "bus"}
    assert match.only_in_truth == {}
    assert match.only_in_job == ("dog",)


def test_an_exact_name_goes_before_a_similar_one():
    assert match_classes(["TV", "tv"], ["tv", "TV"]).classes == {"TV": "TV", "tv": "tv"}
    assert match_classes(["tv", "tvmonitor"], ["tv"]).only_in_truth == {"tvmonitor": ()}


@pytest.mark.parametrize(
    ("truth", "job", "class_map", "code", "said"),
    [
        (["cat"], ["dog"], None, "truth_classes_differ", "it has cat, the job has dog"),
        (["cat"], ["cat"], {"dgo": "cat"}, "truth_class_unknown", "'dgo', which is no class of th"),
        (["cat"], ["cat"], {"cat": "ct"}, "truth_class_unknown", "no class of the job"),
        (["Tv", "TV"], ["tv"], None, "truth_conflict", "both 'Tv' and 'TV'"),
    ],
)
def test_names_that_do_not_fit_are_refused(truth, job, class_map, code, said):
    with pytest.raises(TruthError) as caught:
        match_classes(truth, job, class_map)

    assert caught.value.code == code
    assert said in caught.value.message
