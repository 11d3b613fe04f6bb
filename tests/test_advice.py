"""Each command that a message, an alert, a document or a file of ours tells to type exists, with its options: the real
command takes it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from support.advised import VALUE, Advice, in_document, in_line, in_source, in_text, options, refused
from support.paths import ROOT

LAYERS = ("cli", "deployments", "flows", "tasks", "expectations", "stationsync")
DOCUMENTS = ("README.md", "README.ko.md", "CHANGELOG.md", *(f"docs/{one.name}" for one in (ROOT / "docs").glob("*.md")))


def _of_source() -> Iterator[Advice]:
    for layer in LAYERS:
        for file in sorted((ROOT / layer).rglob("*.py")):
            yield from in_source(file.read_text(encoding="utf-8"), file.relative_to(ROOT).as_posix())


def _of_documents() -> Iterator[Advice]:
    for name in DOCUMENTS:
        if name != "docs/CLI.md":  # made from the help
            yield from in_document((ROOT / name).read_text(encoding="utf-8"), name)


def _of_files() -> Iterator[Advice]:
    """Units, settings, the sample topology and the suites: what they run, and what their comments tell."""
    for folder in ("deployments", "expectations"):
        for file in sorted((ROOT / folder).rglob("*")):
            if file.suffix in (".yaml", ".env", ".secret", ".service", ".target"):
                for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                    place = f"{file.relative_to(ROOT)}:{number}"
                    yield from in_text(line, place) if line.lstrip().startswith("#") else in_line(line, place)
    for number, line in enumerate((ROOT / "Makefile").read_text(encoding="utf-8").splitlines(), 1):
        yield from in_line(line, f"Makefile:{number}")


@pytest.mark.parametrize(("found", "least"), [(_of_source, 150), (_of_documents, 150), (_of_files, 5)])
def test_every_command_that_is_advised_exists(found: object, least: int) -> None:
    advice = list(found())  # type: ignore[operator]
    assert len(advice) > least, "the test reads nothing"
    wrong = [f"{one.place}: {one.text}: {why}" for one in advice if (why := refused(one.text))]
    assert wrong == []


def test_every_option_that_the_engine_tells_of_exists() -> None:
    """Also where a message is put together of pieces."""
    known = {*options(), "--help"}
    for layer in ("tasks", "flows", "stationsync"):
        for file in sorted((ROOT / layer).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", node.value))
                    assert told <= known or "prefect " in node.value, f"{file}:{node.lineno}: {told - known}"


WRONG = (
    "stationsync check --all",
    "stationsync chek",
    "stationsync quarantine forget 7",
    "stationsync sync station-1 --tabel x",
    "stationsync backfill S --table T --since",
    "stationsync journal show --key=1 --nope",
    "stationsync explain station-1",
    f"stationsync reseed {VALUE} --hard",
    "stationsync pull|psh station-1",
    "prefect flow-run lss",
    "prefect flow-run ls --nope x",
)
RIGHT = (
    "stationsync",
    "stationsync status",
    "stationsync init",
    "stationsync pull|push|sync STATION [--table T]",
    "stationsync --topology x.yaml sync station-1",
    f"stationsync backfill {VALUE} --table {VALUE} {VALUE}",
    "stationsync explain S T 7 A",
    "stationsync quarantine retry --all",
    "stationsync quarantine retry 7",
    f"stationsync {VALUE} {VALUE} --allow-deletes",
    "stationsync init and then",
    "prefect deployment run 'sync/station-1' -p from_key=1000",
)


@pytest.mark.parametrize("text", WRONG)
def test_one_that_does_not_exist_is_found(text: str) -> None:
    assert refused(text)


@pytest.mark.parametrize("text", RIGHT)
def test_one_that_does_is_taken(text: str) -> None:
    assert not refused(text)


def test_it_is_found_wherever_it_stands() -> None:
    source = """
def f(s):
    '''Run `stationsync a --b`.'''
    x = f"Do it: stationsync c {s} --d {s!r}, then "
    return x + "see: stationsync" " e (f)"
"""
    told = [one.text for one in in_source(source, "x.py")]
    assert told == ["stationsync a --b", f"stationsync c {VALUE} --d {VALUE}", "stationsync e"]
    document = "Type `stationsync a`.\n\n```sh\nsudo -u stationsync stationsync b --c  # d\nstationsync e | f\n```\n"
    assert [one.text for one in in_document(document, "x.md")] == [
        "stationsync b --c",
        "stationsync e",
        "stationsync a",
    ]
