"""The report in a real browser: text stays text, nothing is asked for, maps come when pressed."""

import pytest

from benchmarks.made_up import JOB, write_job
from tests.browser import Browser, chromium
from tests.reports import EVIL_CLASS, EVIL_FILE, QUICK, made_up
from workers.files import DataFolder
from workers.job_files import JobFiles
from workers.report import build, write_page

#: A phone of the smallest kind, and a desktop.
WIDTHS = (360, 1280)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The address of a report whose files and classes have names that are markup."""
    chromium()
    folder = tmp_path_factory.mktemp("page")
    data = DataFolder(folder / "data")
    write_job(data, made_up(folder), QUICK)
    path = folder / "report.html"
    write_page(path, build(JobFiles.of_finished(data, JOB)).page)
    return path.as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def shown(browser, page):
    browser.size(1280, 900)
    browser.open(page)
    return browser


def test_names_that_are_markup_are_shown_as_text(shown):
    text = shown.value("document.body.innerText")

    assert EVIL_FILE in text
    assert EVIL_CLASS in text
    assert shown.value("document.querySelectorAll('[onerror], b, img[src=x]').length") == 0
    assert shown.of("Page.javascriptDialogOpening") == []


def test_nothing_is_refused_thrown_or_asked_of_the_network(shown, page):
    shown.value("document.querySelectorAll('button[data-levels]').forEach((b) => b.click())")

    requests = [event["request"]["url"] for event in shown.of("Network.requestWillBeSent")]
    assert [url for url in requests if not url.startswith("data:")] == [page]
    assert shown.of("Log.entryAdded") == []
    assert shown.of("Runtime.exceptionThrown") == []


def test_its_style_and_script_are_those_that_its_policy_allows(shown):
    assert shown.value("getComputedStyle(document.querySelector('.tiles')).display") == "grid"
    assert shown.value("document.documentElement.classList.contains('scripted')")


def test_a_script_that_gets_in_does_not_run(shown):
    shown.value(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran=1\">');"
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1';"
        "document.body.append(s)"
    )

    assert shown.value("window.ran === undefined")


def test_pressing_a_class_lays_its_map_over_the_picture_and_takes_it_off_again(shown):
    first = "document.querySelector('figure.picture')"
    button = f"{first}.querySelector('button[data-levels]')"
    canvas = f"{first}.querySelector('canvas')"
    assert shown.value(f"{canvas}.hidden")

    shown.value(f"{button}.click()")

    assert not shown.value(f"{canvas}.hidden")
    assert shown.value(f"{button}.getAttribute('aria-pressed')") == "true"
    assert shown.value(f"{canvas}.width == {button}.dataset.columns")
    drawn = shown.value(
        f"{canvas}.getContext('2d').getImageData(0, 0, {canvas}.width, 1).data[3] > 0"
    )
    assert drawn

    shown.value(f"{button}.click()")

    assert shown.value(f"{canvas}.hidden")


def test_one_map_is_shown_at_a_time(shown):
    figure = "document.querySelector('figure.picture')"
    shown.value(f"{figure}.querySelectorAll('button[data-levels]').forEach((b) => b.click())")

    assert shown.value(f"{figure}.querySelectorAll('[aria-pressed=true]').length") == 1


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_is_no_wider_than_the_screen(shown, width):
    shown.size(width, 800)

    assert shown.value("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("is_dark", [False, True])
def test_text_stands_out_from_what_is_behind_it(shown, is_dark):
    """At least 4.5 to 1, as WCAG 2 asks of text."""
    shown.size(1280, 900, dark=is_dark)

    assert shown.value(CONTRASTS) >= 4.5


#: The smallest contrast of any text of the page, by the formula of WCAG 2.
CONTRASTS = """
(() => {
  const light = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((v) => {
      const c = v / 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (color !== "rgba(0, 0, 0, 0)") return color;
    }
    return "rgb(255, 255, 255)";
  };
  let least = 21;
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || node.closest("style, script, title")) continue;
    const style = getComputedStyle(node);
    const color = node.closest("svg") ? style.fill : style.color;
    const [a, b] = [light(color), light(behind(node))].sort((x, y) => y - x);
    least = Math.min(least, (a + 0.05) / (b + 0.05));
  }
  return least;
})()
"""
