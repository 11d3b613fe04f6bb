"""How a table is to be synchronised, from what was seen of it and what a person said: its entry in stations.yaml,
control's table, and a suite. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pydantic import ValidationError

from stationsync.database.new_table import NewColumn, NewTable
from stationsync.errors import SchemaRefused, UsageError
from stationsync.model.schema import Column, TableShape
from stationsync.onboarding import key_choice, stamp_choice, suite_draft
from stationsync.onboarding.key_choice import KeyChoice
from stationsync.onboarding.look import SeenControl, SeenTable
from stationsync.onboarding.stamp_choice import StampChoice, ZoneChoice
from stationsync.pairing.fit import Fit
from stationsync.pairing.fitting import compare
from stationsync.topology.editing import Entry, Line
from stationsync.topology.model import TableOptions
from stationsync.topology.zones import SERVER

_SURROGATES = ("master_id", "control_id", "stationsync_row")


@dataclass(frozen=True)
class WantedTable:
    """What a person said; None: what is proposed. `created` "": none."""

    key: tuple[str, ...] | None = None
    modified: tuple[str, ...] | None = None
    created: str | None = None
    zone: str | None = None
    exclude: tuple[str, ...] = ()
    control_table: str | None = None
    suite: bool = True


@dataclass(frozen=True)
class TableProposal:
    """`new`: control's table, where there is none. `excluded`: columns that do not travel, with the reason."""

    table: str
    place: str
    key: KeyChoice
    keys: tuple[KeyChoice, ...]
    modified: StampChoice
    created: str | None
    created_why: str
    zone: ZoneChoice
    excluded: tuple[tuple[str, str], ...]
    options: TableOptions
    fit: Fit
    new: NewTable | None
    suite: str | None
    rules: str
    rows: int
    # There is a suite of that name, which is left as it is.
    suite_there: bool = False

    @property
    def warnings(self) -> list[str]:
        return [text for text in (self.key.warning, self.zone.warning) if text]

    @property
    def entry(self) -> Entry:
        """Its lines in stations.yaml, each with what it was decided by."""
        lines = [Line("key", self.key.columns, self.key.why)]
        lines += [Line("", comment=f"Mind: {text}") for text in self.warnings]
        stamps = self.modified.columns
        lines.append(Line("modified", stamps[0] if len(stamps) == 1 else stamps, self.modified.why))
        if self.zone.zone != SERVER:
            lines.append(Line("modified_zone", self.zone.zone, self.zone.why or "as it was said"))
        if self.created:
            lines.append(Line("created", self.created, self.created_why))
        elif self.created_why:
            lines.append(Line("", comment=f"no created: {self.created_why}"))
        if self.excluded:
            why = "; ".join(f"{name}: {reason}" for name, reason in self.excluded)
            lines.append(Line("exclude", [name for name, _ in self.excluded], why))
        if self.options.control_table != self.table:
            lines.append(Line("control_table", str(self.options.control_table)))
        if self.suite:
            saw = "was there already" if self.suite_there else f"drafted from {self.rows:,} rows"
            lines.append(Line("expectations", self.suite, f"expectations/{self.suite}.yaml, {saw}"))
        return Entry(self.table, tuple(lines))


def propose(table: str, seen: SeenTable, control: SeenControl, wanted: WantedTable) -> TableProposal:
    """Raises SchemaRefused, with the place, where the table cannot be synchronised so; UsageError for a name that no
    table may have."""
    shape = seen.shape
    excluded = _excluded(seen, control.shape, wanted)
    left = {name.lower() for name, _ in excluded}
    _require_supported(seen, left)
    keys = key_choice.choices(shape, seen.rows, control.shape)
    if wanted.key:
        key = key_choice.named(seen.place, shape, wanted.key)
    else:
        key = key_choice.required(seen.place, keys, shape, control.shape)
    modified = stamp_choice.modified(seen.place, shape, seen.rows, wanted.modified or ())
    zone = _zone(seen, modified, wanted)
    made, made_why = _created(seen, key, modified, wanted)
    suite = suite_name(table) if wanted.suite else None
    options = _options(table, key, modified, zone, made, excluded, suite, wanted)
    new = None if control.shape else _new_table(seen, control, options, left)
    fit = _required(compare(seen.place, shape, control.shape or shape_of(new, shape), options))
    synced = [replace(one.station, name=one.name) for one in fit.columns]
    rules = suite_draft.draft(suite or "", seen.place, synced, seen.rows, seen.json)
    return TableProposal(
        table, seen.place, key, tuple(keys), modified, made, made_why, zone, excluded, options, fit, new, suite, rules,
        seen.rows.num_rows,
    )  # fmt: skip


def _required(fit: Fit) -> Fit:
    wrong = [finding for finding in fit.findings if finding.refused]
    if not wrong:
        return fit
    told = [
        f"{one.place.removeprefix(fit.place).lstrip('/, ')}: {one.what} {one.next_step}".strip(": ") for one in wrong
    ]
    step = "Mend the tables, or leave columns out with --exclude, then type it again."
    raise SchemaRefused(fit.place, "; ".join(told), not_done="Nothing was changed.", next_step=step)


def suite_name(table: str) -> str:
    """A file may be called so."""
    return re.sub(r"[^\w-]+", "_", table).strip("_") or "table"


def shape_of(new: NewTable | None, like: TableShape) -> TableShape:
    """What a new control table will look like."""
    assert new is not None
    own = Column(new.surrogate, "bigint(20)", like.columns[0].family, nullable=False, auto_increment=True)
    columns = (
        own,
        *(replace(c.like, nullable=not c.required, on_update=c.stamped, required=False) for c in new.columns),
    )
    indexes = ((new.surrogate,), new.key, (new.modified, *new.key))
    return TableShape(new.name, columns, ((new.surrogate,), new.key), indexes, engine="InnoDB")


def _excluded(seen: SeenTable, control: TableShape | None, wanted: WantedTable) -> tuple[tuple[str, str], ...]:
    for name in wanted.exclude:
        if name not in seen.shape and (control is None or name not in control):
            step = f"It has: {', '.join(seen.shape.names)}."
            raise SchemaRefused(seen.place, f"there is no column {name} to leave out.", next_step=step)
    found = {}
    if control is None:
        found[_surrogate(seen.shape)] = "control's own key"
    else:
        # One that must have a value is no column that could be left alone: it is refused by name.
        own = (c.name for c in control.columns if c.name not in seen.shape and not c.required)
        found.update(dict.fromkeys(own, "only control has it"))
    found.update({c.name: "generated" for c in seen.shape.columns if c.generated})
    found.update({seen.shape.spelled(name): "as it was said" for name in wanted.exclude})
    return tuple(found.items())


def _surrogate(shape: TableShape) -> str:
    return next(name for name in (*_SURROGATES, *(f"master_id_{n}" for n in range(2, 5000))) if name not in shape)


def _require_supported(seen: SeenTable, left: set[str]) -> None:
    wrong = [c for c in seen.shape.columns if not c.supported and not c.generated and c.name.lower() not in left]
    if wrong:
        told = ", ".join(f"{column.name} ({column.type})" for column in wrong)
        step = "Leave them out: " + " ".join(f"--exclude {column.name}" for column in wrong)
        raise SchemaRefused(seen.place, f"columns of types that cannot be synchronised: {told}.", next_step=step)


def _zone(seen: SeenTable, modified: StampChoice, wanted: WantedTable) -> ZoneChoice:
    if wanted.zone is not None:
        return ZoneChoice(wanted.zone)
    name = modified.columns[0]
    if name not in seen.stamps:
        return ZoneChoice()
    newest, clock = seen.stamps[name]
    return stamp_choice.zone(newest, clock, seen.shape[name].family)


def _created(seen: SeenTable, key: KeyChoice, modified: StampChoice, wanted: WantedTable) -> tuple[str | None, str]:
    if wanted.created is not None:
        if wanted.created and wanted.created not in seen.shape:
            step = f"It has: {', '.join(seen.shape.names)}."
            raise SchemaRefused(seen.place, f"there is no column {wanted.created}.", next_step=step)
        return (seen.shape.spelled(wanted.created), "as it was said") if wanted.created else (None, "")
    first, *others = modified.columns
    options = TableOptions(key=key.columns, modified=first, modified_else=tuple(others))
    return stamp_choice.created(seen.shape, seen.rows, options)


def _options(
    table: str,
    key: KeyChoice,
    modified: StampChoice,
    zone: ZoneChoice,
    made: str | None,
    excluded: Sequence[tuple[str, str]],
    suite: str | None,
    wanted: WantedTable,
) -> TableOptions:
    first, *others = modified.columns
    try:
        return TableOptions(
            key=key.columns,
            modified=first,
            modified_else=tuple(others),
            modified_zone=zone.zone,
            created=made,
            exclude=tuple(name for name, _ in excluded),
            control_table=wanted.control_table or table,
            station_table=table,
            expectations=suite,
        )
    except ValidationError as error:
        said = "; ".join(str(one["msg"]).removeprefix("Value error, ") for one in error.errors(include_url=False))
        raise UsageError(f"table {table}", f"{said}.", not_done="Nothing was changed.") from None


def _new_table(seen: SeenTable, control: SeenControl, options: TableOptions, left: set[str]) -> NewTable:
    columns = []
    for column in seen.shape.columns:
        if column.generated or column.name.lower() in left:
            continue
        stamped = column.on_update and column.name in options.stamps
        like = _known_collation(column, control.collations)
        required = column.name in options.key or not column.nullable
        columns.append(NewColumn(like, required, stamped, json=column.name in seen.json))
    surrogate = _surrogate(seen.shape)
    return NewTable(str(options.control_table), surrogate, tuple(columns), options.key, options.modified)


def _known_collation(column: Column, known: frozenset[str]) -> Column:
    """The station's, so that keys are the same at both sides; byte by byte where control's server has no such one."""
    if not column.charset or not known or column.collation in known:
        return column
    return replace(column, collation=f"{column.charset}_nopad_bin")
