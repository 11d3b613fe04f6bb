"""Imports run downwards only, and each heavy library stays in its place. Reads every source file, also the
imports inside functions."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support.paths import ROOT

# Top to bottom: a package imports itself and what stands below it.
LAYERS = ("cli", "deployments", "flows", "tasks", "expectations", "stationsync")
# Library: the packages or files where it may not be.
FORBIDDEN = {
    "stationsync": {"prefect"},
    "flows": {"sqlalchemy", "pandas", "pymysql"},
}
# The engine's packages, bottom to top: each imports itself and what stands before it.
ENGINE = (
    "model", "errors", "topology", "database", "pairing", "store", "journal", "session", "keeping", "writing",
    "rollback", "sync", "continuous", "reconcile", "setup", "health", "onboarding", "recovery", "maintenance",
    "explain",
)  # fmt: skip
# A folder with more modules has no plan.
MOST_MODULES = 25
ONLY_IN = {"great_expectations": "stationsync/sync/validation.py"}
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
        if not isinstance(node, ast.Constant) or id(node) in prose:
            continue
        if isinstance(text := node.value, str) and SQL.match(text):
            yield node.lineno, f"has SQL: {text.strip()[:40]!r}"


def test_the_product_keeps_its_layers() -> None:
    assert violations(ROOT) == []


def misplaced(root: Path) -> list[str]:
    """Imports of the engine that run up in the order of its packages, as "file:line: what"."""
    found = []
    for name, file in _modules(root).items():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        place = file.relative_to(root).as_posix()
        for line, module in _imported(tree, place):
            package = _package(module)
            if package in ENGINE and ENGINE.index(package) > ENGINE.index(_package(name)):
                found.append(f"{place}:{line}: imports {module}")
    return found


def circles(root: Path) -> list[tuple[str, ...]]:
    """Modules of the engine that import each other in a circle, also under TYPE_CHECKING and inside functions."""
    modules = _modules(root)
    wanted = {name: _needed(name, file, root, modules) for name, file in modules.items()}
    reached = {name: _reached(name, wanted) for name in wanted}
    joined = {name: sorted(other for other in reached[name] if name in reached[other]) for name in wanted}
    return sorted({tuple(some) for some in joined.values() if some})


def _modules(root: Path) -> dict[str, Path]:
    files = (root / "stationsync").rglob("*.py")
    named = {".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file for file in files}
    return {name: file for name, file in named.items() if name != "stationsync"}


def _package(module: str) -> str:
    return (
        module.removeprefix("stationsync").removeprefix(".").split(".")[0] if module.startswith("stationsync") else ""
    )


def _needed(name: str, file: Path, root: Path, modules: Mapping[str, Path]) -> set[str]:
    tree, found = ast.parse(file.read_text(encoding="utf-8")), set()
    place = file.relative_to(root).as_posix()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            ((_, module),) = _imported(ast.Module([node], []), place)
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return {one for one in found if one in modules and one != name}


def _reached(name: str, wanted: Mapping[str, set[str]]) -> set[str]:
    found, behind = set[str](), [name]
    while behind:
        further = wanted[behind.pop()] - found
        found |= further
        behind += further
    return found


def test_the_engine_s_packages_keep_their_order() -> None:
    assert misplaced(ROOT) == []


def test_no_modules_of_the_engine_import_each_other_in_a_circle() -> None:
    assert circles(ROOT) == []


def test_every_package_of_the_engine_stands_in_the_order_and_says_what_lives_there() -> None:
    folders = [folder for folder in (ROOT / "stationsync").iterdir() if list(folder.glob("*.py"))]
    assert {folder.name for folder in folders} == set(ENGINE) - {"errors"}
    for folder in folders:
        said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
        assert "Begin with `" in said, folder.name
        named = {name for name in re.findall(r"`(\w+)/?`", said) if len(name) > 3}
        here = {file.stem for file in folder.rglob("*")} | {file.name for file in (ROOT / "stationsync").iterdir()}
        assert named <= here, (folder.name, named - here)


def test_no_folder_has_too_many_modules() -> None:
    many = {}
    for folder in (one for layer in LAYERS for one in (ROOT / layer, *(ROOT / layer).rglob("*"))):
        if folder.is_dir() and len(found := list(folder.glob("*.py"))) > MOST_MODULES:
            many[folder.relative_to(ROOT).as_posix()] = len(found)
    assert many == {}


def test_no_two_types_have_one_name() -> None:
    places: dict[str, list[str]] = {}
    for file in (one for layer in LAYERS for one in (ROOT / layer).rglob("*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(file.relative_to(ROOT).as_posix())
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_only_the_database_package_knows_a_dialect_by_name() -> None:
    known = re.compile(r"""dialect\.name\b|\bdialect=["']|\.get_backend_name\(""")
    named = [
        f"{file.relative_to(ROOT)}:{number}"
        for name, file in _modules(ROOT).items()
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if _package(name) != "database" and known.search(line)
    ]
    assert named == []


def test_breaches_of_the_engine_s_order_are_found(tmp_path: Path) -> None:
    _write(tmp_path, "stationsync/pairing/a.py", "from stationsync.sync import merge")
    _write(tmp_path, "stationsync/model/b.py", "def f():\n    from ..topology.file import load")
    _write(tmp_path, "stationsync/sync/c.py", "from stationsync.pairing import fit")
    assert [found.split(":")[0] for found in misplaced(tmp_path)] == [
        "stationsync/model/b.py",
        "stationsync/pairing/a.py",
    ]


def test_circles_are_found(tmp_path: Path) -> None:
    _write(tmp_path, "stationsync/sync/a.py", "from stationsync.sync import b")
    _write(tmp_path, "stationsync/sync/b.py", "def f():\n    from stationsync.sync.c import x")
    _write(tmp_path, "stationsync/sync/c.py", "if TYPE_CHECKING:\n    from stationsync.sync.a import y")
    _write(tmp_path, "stationsync/sync/d.py", "from stationsync.sync import a")
    names = tuple(f"stationsync.sync.{name}" for name in "abc")
    assert circles(tmp_path) == [names]


def test_every_layer_is_there() -> None:
    assert [layer for layer in LAYERS if not list((ROOT / layer).glob("*.py"))] == []


BREACHES = {
    "stationsync/a.py": "import prefect",
    "stationsync/b.py": "def f():\n    from prefect.client import orchestration",
    "stationsync/c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from tasks import extract",
    "stationsync/d.py": "import great_expectations as gx",
    "stationsync/e.py": "import importlib\nimportlib.import_module('prefect')",
    "stationsync/f.py": "from tests import conftest",
    "stationsync/database/g.py": "import expectations",
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
    "stationsync/sync/validation.py": "def f():\n    import great_expectations",
    "stationsync/database/a.py": "from ..errors import X\nSQL = 'SELECT a FROM b'",
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
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source, encoding="utf-8")


def test_the_command_starts_without_the_heavy_libraries() -> None:
    script = "import sys, cli.main; print(*{'prefect', 'great_expectations', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_no_two_files_of_tests_have_one_name() -> None:
    """pytest takes the second for the first, and ends before it has begun."""
    names = [file.name for file in (ROOT / "tests").rglob("test_*.py")]
    assert sorted({name for name in names if names.count(name) > 1}) == []
