"""Imports run downwards only, and each heavy library stays in its place. Reads every source file, also the
imports inside functions."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Top to bottom: a package imports itself and what stands below it.
LAYERS = ("cli", "deployments", "flows", "tasks", "expectations", "stationsync")
# Library: the packages or files where it may not be.
FORBIDDEN = {
    "stationsync": {"prefect"},
    "flows": {"sqlalchemy", "pandas", "pymysql"},
}
ONLY_IN = {"great_expectations": "stationsync/validation.py"}
OUTSIDE = {"tests", "bench", "support"}

# Capitals anywhere, or small letters where a string begins: "Select a station from the list" is prose.
_SQL = (
    r"(SELECT\b.+\bFROM|INSERT\s+INTO|REPLACE\s+INTO|UPDATE\s+\S+\s+SET|DELETE\s+FROM|TRUNCATE\s+TABLE"
    r"|(CREATE|DROP|ALTER)\s+(TEMPORARY\s+)?(TABLE|INDEX|DATABASE)|GRANT\s.+\sON)\b"
)
SQL = re.compile(rf"\s*\(?(?=[a-z])(?i:{_SQL})|.*\b{_SQL}", re.DOTALL)


def violations(root: Path) -> list[str]:
    """Every breach below a source tree, as "file:line: what"."""
    found = []
    for layer in LAYERS:
        for file in sorted((root / layer).rglob("*.py")):
            name = file.relative_to(root).as_posix()
            tree = ast.parse(file.read_text(encoding="utf-8"), filename=name)
            breaches = [*_imports(tree, layer, name), *(_heavy(tree) if layer == "flows" else ())]
            found += [f"{name}:{line}: {what}" for line, what in breaches]
    return found


def _imports(tree: ast.Module, layer: str, file: str) -> Iterator[tuple[int, str]]:
    below = LAYERS[LAYERS.index(layer) :]
    for line, module in _imported(tree, file):
        package = module.split(".")[0]
        upwards = package in LAYERS and package not in below
        elsewhere = package in ONLY_IN and file != ONLY_IN[package]
        if upwards or elsewhere or package in OUTSIDE or package in FORBIDDEN.get(layer, ()):
            yield line, f"imports {module}"


def _imported(tree: ast.Module, file: str) -> Iterator[tuple[int, str]]:
    """Line and absolute module name of every import, in functions and by name too."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, level=level):
                folders = file.split("/")[:-1]
                base = folders[: len(folders) - level + 1] if level else []
                yield node.lineno, ".".join([*base, *([module] if module else [])])
            case ast.Call(
                func=ast.Name(id=name) | ast.Attribute(attr=name), args=[ast.Constant(value=str(module)), *_]
            ):
                if name in ("import_module", "__import__"):
                    yield node.lineno, module


def _heavy(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """What makes a flow thick."""
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.lineno, f"defines class {node.name}"
        text = node.value if isinstance(node, ast.Constant) and id(node) not in prose else None
        if isinstance(text, str) and SQL.match(text):
            yield node.lineno, f"has SQL: {text.strip()[:40]!r}"


def test_the_product_keeps_its_layers() -> None:
    assert violations(ROOT) == []


def test_every_layer_is_there() -> None:
    assert [layer for layer in LAYERS if not list((ROOT / layer).glob("*.py"))] == []


BREACHES = {
    "stationsync/a.py": "import prefect",
    "stationsync/b.py": "def f():\n    from prefect.client import orchestration",
    "stationsync/c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tasks import extract",
    "stationsync/d.py": "import great_expectations as gx",
    "stationsync/e.py": "import importlib\nimportlib.import_module('prefect')",
    "stationsync/f.py": "from tests import conftest",
    "stationsync/dialects/g.py": "import expectations",
    "tasks/a.py": "from flows.pull import pull",
    "flows/a.py": "import sqlalchemy as sa",
    "flows/b.py": "def f():\n    import pandas",
    "flows/c.py": "from pymysql.cursors import Cursor",
    "flows/d.py": "def f(run):\n    run('select id\\nfrom kafka_test')",
    "flows/e.py": "def f(run, table):\n    run(f'DELETE FROM {table}')",
    "flows/f.py": "class Pull:\n    pass",
    "flows/sub/g.py": "from ...cli import main",
    "deployments/a.py": "from cli import main",
}
FINE = {
    "cli/main.py": "from deployments import x\nfrom flows.pull import pull\nimport prefect, pandas",
    "tasks/a.py": "import prefect, sqlalchemy\nfrom stationsync import merge\nfrom . import b",
    "flows/a.py": '"""Text.\n\nSELECT a FROM b"""\nM = "Select a station from the list"',
    "stationsync/validation.py": "def f():\n    import great_expectations",
    "stationsync/dialects/a.py": "from ..errors import X\nSQL = 'SELECT a FROM b'",
    "expectations/a.py": "import stationsync",
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_is_found(tmp_path: Path, name: str) -> None:
    _write(tmp_path, name, BREACHES[name])
    assert [found.split(":")[0] for found in violations(tmp_path)] == [name]


@pytest.mark.parametrize("name", FINE)
def test_what_is_allowed_passes(tmp_path: Path, name: str) -> None:
    _write(tmp_path, name, FINE[name])
    assert violations(tmp_path) == []


def _write(root: Path, name: str, source: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True)
    file.write_text(source, encoding="utf-8")


def test_the_command_starts_without_the_heavy_libraries() -> None:
    script = "import sys, cli.main; print(*{'prefect', 'great_expectations', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
