"""Checks what a YAML file has, part after part, so that one wrong part hides no problem of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from stationsync.errors import did_you_mean
from stationsync.topology.model import Defaults, StationGroup
from stationsync.topology.positions import Place, Problems
from stationsync.topology.schedules import Continuous, FleetSchedule, Schedule

_MESSAGES = {
    "missing": "is missing",
    "string_type": "write text",
    "tuple_type": "write a list, such as [id, code]",
    "dict_type": "write a mapping",
    "model_type": "write a mapping",
    "too_short": "name at least one",
    "string_pattern_mismatch": "a name has lower-case letters, digits and hyphens, at most 63 in all",
}

Model = TypeVar("Model", bound=BaseModel)


@dataclass
class Parts:
    """`problems` takes what is wrong; names of files are relative to `folder`."""

    problems: Problems
    folder: Path

    def once(self, names: list[object], place: Place) -> None:
        for number, name in enumerate(names):
            if name in names[:number]:
                self.problems.add((*place, number), "is named twice")

    def mapping(self, data: object, place: Place, empty: str = "") -> dict[str, Any]:
        if data is not None and not isinstance(data, Mapping):
            self.problems.add(place, "write a mapping, name: value")
        elif not data and empty:
            self.problems.add(place, empty)
        return {str(name): value for name, value in data.items()} if isinstance(data, Mapping) else {}

    def check(self, model: type[Model], data: object, place: Place) -> Model | None:
        try:
            return model.model_validate(data, context={"folder": self.folder})
        except ValidationError as error:
            for one in error.errors(include_url=False, include_context=False, include_input=False):
                # Pydantic names a mapping's key "[key]", and we the forms that a value may have.
                where = (*place, *(part for part in one["loc"] if not str(part).startswith("[")))
                self.problems.add(where, _explain(one["type"], one["msg"], where, model))
        return None


def _explain(kind: str, message: str, where: Place, model: type[BaseModel]) -> str:
    if kind == "extra_forbidden":
        return unknown_field(str(where[-1]), model, where[:-1])
    return _MESSAGES.get(kind) or message.removeprefix("Value error, ")


def unknown_field(name: str, model: type[BaseModel], place: Place) -> str:
    whole = FleetSchedule if model is Defaults and place[-3:-2] != ("groups",) else Schedule
    parts: dict[object, type[BaseModel]] = {"schedule": whole, "sync": Continuous}
    if place[-2:-1] == ("groups",):
        parts[place[-1]] = StationGroup
    return f"unknown field{did_you_mean(name, parts.get(place[-1] if place else None, model).model_fields)}"
