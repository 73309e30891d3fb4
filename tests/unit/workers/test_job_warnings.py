"""What the phases tell a user of a job that goes on all the same."""

from workers.job_warnings import MAX_NAMED, never_top_1, no_threshold


def test_one_warning_names_every_class_without_a_threshold():
    (warning,) = no_threshold(["ant", "bee", "cow"], [None, 0.5, None])

    assert warning["code"] == "no_threshold"
    assert warning["classes"] == ["ant", "cow"]
    assert warning["message"].startswith(
        "'ant', 'cow': a class with a pseudo-label of 0.5 or more on fewer than 5 images"
    )


def test_nothing_is_said_where_every_class_has_a_threshold():
    assert no_threshold(["ant"], [0.0]) == []


def test_one_warning_names_every_class_that_is_never_on_top():
    (warning,) = never_top_1(["ant", "bee"], [0, 3])

    assert warning["code"] == "never_top_1"
    assert warning["classes"] == ["ant"]


def test_a_long_list_is_cut_in_the_sentence_and_whole_in_the_field():
    names = [f"class {i}" for i in range(MAX_NAMED + 2)]

    (warning,) = no_threshold(names, [None] * len(names))

    assert warning["classes"] == names
    assert f"{names[MAX_NAMED - 1]!r} and 2 more: " in warning["message"]
    assert repr(names[MAX_NAMED]) not in warning["message"]
