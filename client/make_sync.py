"""Writes the synchronous half of the client, `_sync`, out of the asynchronous one, `_async`.

python client/make_sync.py
"""

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

SOURCE = Path(__file__).parent / "src" / "ccd_client" / "_async"
#: Has the rules of the formatter.
RULES = Path(__file__).parents[1] / "pyproject.toml"
TARGET = SOURCE.with_name("_sync")
#: In this order; each is a whole word.
WORDS = {
    r"_async_io": "_sync_io",
    r"ccd_client\._async\b": "ccd_client._sync",
    r"async (def|with|for)\b": r"\1",
    r"await ": "",
    r"__a(enter|exit|iter|next)__": r"__\1__",
    r"a(close|read)\(": r"\1(",
    r"aiter_(\w+)": r"iter_\1",
    r"Async([A-Z]\w+)": r"\1",
}


def synchronous(text: str) -> str:
    """The synchronous form of a module, as yet unformatted."""
    for word, replacement in WORDS.items():
        text = re.sub(rf"\b{word}" if word[0].isalpha() else word, replacement, text)
    return text


def modules() -> dict[Path, str]:
    """Every file of the synchronous half, and what it has to hold."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        for path in SOURCE.glob("*.py"):
            (folder / path.name).write_text(synchronous(path.read_text()))
        for step in (["check", "--quiet", "--fix-only", "--select", "I"], ["format", "--quiet"]):
            command = [sys.executable, "-m", "ruff", *step, "--no-cache", "--config", RULES, folder]
            subprocess.run(command, check=True)
        return {TARGET / path.name: path.read_text() for path in folder.glob("*.py")}


def main() -> None:
    """Write them."""
    TARGET.mkdir(exist_ok=True)
    for path, text in modules().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
