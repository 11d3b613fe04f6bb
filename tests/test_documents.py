"""The documents: the command reference is the help, the READMEs agree. What they tell to type: test_advice."""

from __future__ import annotations

import re

import pytest
from support.paths import ROOT

from cli import reference

PAGES = ("README.md", "README.ko.md", "docs/OPERATIONS.md", "docs/MIGRATION.md")
MISSING = "Run: make cli-docs"


def test_the_command_reference_is_what_the_help_says() -> None:
    assert (ROOT / reference.PAGE).read_text() == reference.page(), MISSING


def test_the_command_reference_does_not_depend_on_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERMINAL_WIDTH", "40")
    assert (ROOT / reference.PAGE).read_text() == reference.page()


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_is_linked_is_there(page: str) -> None:
    path = ROOT / page
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{page}: {target}"


def test_every_module_that_the_architecture_names_is_there() -> None:
    text = (ROOT / "docs/ARCHITECTURE.md").read_text(encoding="utf-8") + (ROOT / "docs/ROUTES.md").read_text(
        encoding="utf-8"
    )
    named = set(re.findall(r"`([\w/]+/\w+(?:\.py)?)`", text))
    assert len(named) > 10
    places = (ROOT, ROOT / "stationsync")
    assert [one for one in sorted(named) if not any((place / one).exists() for place in places)] == []


def test_both_readmes_have_the_same_commands_in_the_same_order() -> None:
    english, korean = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.ko.md"))
    assert [len(marks) for marks in re.findall(r"^(#+) ", _without_blocks(korean), re.MULTILINE)] == [
        len(marks) for marks in re.findall(r"^(#+) ", _without_blocks(english), re.MULTILINE)
    ]
    assert [_stripped(block) for block in _blocks(korean)] == [_stripped(block) for block in _blocks(english)]
    assert len(re.findall(r"[가-힣]", korean)) > 1_000


def test_the_migration_guide_answers_every_item() -> None:
    text = (ROOT / "docs/MIGRATION.md").read_text()
    numbers = [int(number) for number in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)]
    assert numbers == list(range(1, 58))


def _blocks(text: str) -> list[str]:
    return re.findall(r"^ *```[^\n]*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)


def _without_blocks(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)


def _stripped(block: str) -> list[str]:
    """The commands without what is said beside them, which is translated."""
    lines = (re.split(r"\s+(?:#|--) ", line)[0].strip() for line in block.splitlines())
    return [line for line in lines if line and not line.startswith(("#", "-- "))]
