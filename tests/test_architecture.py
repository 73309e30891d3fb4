"""The rules of the house that no single test would see."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("app", "workers", "models", "demo")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MODULES = [path for path in SOURCES if path.name != "__init__.py"]

HEAVY = ("torch", "torchvision", "numpy", "open_clip", "timm", "transformers", "PIL", "safetensors")


def names(paths):
    return [str(path.relative_to(ROOT)) for path in paths]


def parse(path):
    return ast.parse(path.read_text())


def run(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", ["app.main", "app.cli", "app.standalone", "workers.tasks"])
def test_a_light_process_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & set({HEAVY!r})))"
    environment_of_a_worker = {"CCD_REDIS_URL": "redis://127.0.0.1:1/0"}

    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment_of_a_worker,
        capture_output=True,
        text=True,
        check=False,
    )

    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == []


def test_the_import_rules_hold():
    found = run(
        sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()"
    )

    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("path", MODULES, ids=names(MODULES))
def test_a_module_opens_by_saying_what_it_is(path):
    docstring = ast.get_docstring(parse(path))

    assert docstring
    assert docstring.splitlines()[0].endswith(".")


def test_init_files_are_empty():
    assert not [path for path in SOURCES if path.name == "__init__.py" and path.read_text()]


def test_the_method_reads_no_environment():
    readers = [
        path
        for path in MODULES
        if path.parent.name == "models"
        and {"environ", "getenv"} & {getattr(node, "attr", None) for node in ast.walk(parse(path))}
    ]

    assert names(readers) == []


def test_lock_files_name_no_host():
    hosts = [
        line
        for path in (ROOT / "requirements").glob("*.txt")
        for line in path.read_text().splitlines()
        if "://" in line or line.startswith(("-i", "-f", "--index", "--find", "--extra-index"))
    ]

    assert hosts == []


def test_every_locked_package_has_a_hash():
    for name in ("api", "worker", "all", "readers"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", "")
        pins = [line for line in text.splitlines() if line]
        assert pins
        assert [pin for pin in pins if "==" not in pin or "--hash=sha256:" not in pin] == []
