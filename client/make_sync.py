"""Writes the synchronous half of the client, `_sync`, out of the asynchronous one, `_async`.

python client/make_sync.py
"""

import re
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parent / "src" / "ccd_client" / "_async"
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
    """The synchronous form of a module, as the formatter leaves it."""
    for word, replacement in WORDS.items():
        text = re.sub(rf"\b{word}" if word[0].isalpha() else word, replacement, text)
    for step in (["check", "--quiet", "--fix-only", "--select", "I"], ["format"]):
        command = [sys.executable, "-m", "ruff", *step, "--stdin-filename", TARGET / "x.py", "-"]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
        text = done.stdout
    return text


def modules() -> dict[Path, str]:
    """Every file of the synchronous half, and what it has to hold."""
    return {TARGET / path.name: synchronous(path.read_text()) for path in SOURCE.glob("*.py")}


def main() -> None:
    """Write them."""
    TARGET.mkdir(exist_ok=True)
    for path, text in modules().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
