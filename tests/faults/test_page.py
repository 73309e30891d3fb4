"""The page on reliability names tests that exist."""

import re

from tests.serving import ROOT

DEFINED = re.compile(r"def (test_\w+)\(")
NAMED = re.compile(r"`(test_\w+)`")


def test_every_proof_on_the_page_is_a_test():
    files = (ROOT / "tests").rglob("test_*.py")
    defined = {name for path in files for name in DEFINED.findall(path.read_text())}
    named = set(NAMED.findall((ROOT / "docs" / "reliability.md").read_text()))

    assert named
    assert named - defined == set()
