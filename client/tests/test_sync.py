"""The synchronous half is the asynchronous one, written out."""

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "make_sync.py"


def test_the_synchronous_half_is_what_the_script_writes():
    spec = importlib.util.spec_from_file_location("make_sync", SCRIPT)
    make_sync = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_sync)

    written = make_sync.modules()

    assert written == {path: path.read_text() for path in make_sync.TARGET.glob("*.py")}
