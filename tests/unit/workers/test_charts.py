"""Small charts as SVG."""

from xml.etree import ElementTree as ET

import pytest

from workers.charts import Line, bar, curve, histogram, tag

SVG = "svg"


def parts(drawing, kind):
    return [part for part in ET.fromstring(drawing).iter() if part.get("class") == kind]


def test_what_a_user_wrote_is_text_and_never_markup():
    drawn = tag("text", "</svg><script>", title='"><b>')

    assert drawn == ('<text title="&#34;&gt;&lt;b&gt;">&lt;/svg&gt;&lt;script&gt;</text>')


def test_a_bar_is_as_long_as_its_share():
    (filled,) = parts(bar(0.375), "bar")

    assert filled.get("width") == "37.5"


@pytest.mark.parametrize(("share", "width"), [(-0.1, "0"), (1.2, "100")])
def test_a_bar_stays_within_its_track(share, width):
    assert parts(bar(share), "bar")[0].get("width") == width


def test_a_histogram_draws_the_square_roots_of_its_counts():
    bars = parts(histogram([100, 25, 0, 4], None), "bar")

    # Of 28 units: 28, 28 * sqrt(1/4), nothing, 28 * sqrt(1/25).
    assert [part.get("height") for part in bars] == ["28", "14", "5.6"]
    assert [part.get("x") for part in bars] == ["0", "30", "90"]


def test_a_threshold_stands_at_its_score():
    (mark,) = parts(histogram([1, 1], 0.25), "mark")

    assert float(mark.get("x")) + float(mark.get("width")) / 2 == pytest.approx(120 * 0.25)
    assert parts(histogram([1, 1], None), "mark") == []


def test_an_empty_histogram_is_drawn():
    assert parts(histogram([0] * 20, 0.5), "bar") == []


def test_points_lie_higher_the_larger_they_are():
    drawing = curve([Line("main", "first", [(1, 0.2), (2, 0.6), (3, 0.4)])], title="mAP")

    ys = [float(part.get("cy")) for part in parts(drawing, "first") if part.tag == "circle"]
    assert ys[1] < ys[2] < ys[0]


def test_the_kept_epoch_has_a_ring():
    line = Line("main", "first", [(1, 0.2), (2, 0.6)])

    (ring,) = parts(curve([line], title="loss", ring=2), "ring")

    dots = [part for part in parts(curve([line], title=""), "first") if part.tag == "circle"]
    assert (ring.get("cx"), ring.get("cy")) == (dots[1].get("cx"), dots[1].get("cy"))


def test_one_epoch_is_a_point():
    drawing = curve([Line("a", "first", []), Line("b", "second", [(1, 0.0)])], title="loss")

    assert len([part for part in parts(drawing, "second") if part.tag == "circle"]) == 1


def test_the_name_of_one_epoch_stands_beside_the_values_of_the_axis():
    lines = [Line("warm-up", "first", [(1, 0.5)]), Line("main", "second", [(2, 0.4), (9, 0.1)])]
    texts = list(ET.fromstring(curve(lines, title="loss")).iter("text"))

    (name,) = [part for part in texts if part.text == "warm-up"]
    values = [float(part.get("x")) for part in texts if part.get("text-anchor") == "end"]
    # Seven bold characters of 10.5 px are 42 px wide, their middle at x.
    assert float(name.get("x")) - 42 / 2 > max(values)


@pytest.mark.parametrize(
    ("largest", "top"), [(0.43, "0.5"), (0.21, "0.5"), (0.2, "0.2"), (7, "10")]
)
def test_an_axis_ends_at_a_round_number(largest, top):
    drawing = curve([Line("loss", "first", [(1, largest)])], title="loss")

    labels = [part.text for part in ET.fromstring(drawing).iter("text")]
    assert top in labels
