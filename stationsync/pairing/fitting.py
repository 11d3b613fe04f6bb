"""Do a station's table and control's fit each other? Pure: two shapes and the options in, columns and findings out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from stationsync.model.schema import ByName, Column, Side, TableShape, folded, sql_name
from stationsync.model.wire import Family
from stationsync.pairing.fit import (
    MODIFIED_FAMILIES,
    Finding,
    Fit,
    Synced,
    WithoutKey,
    nullable,
    own_names_of,
    paired,
    spelled,
)
from stationsync.pairing.fit_types import changes_values
from stationsync.topology.model import Deletes, TableDirection, TableOptions

_OWN_NAMES = "stationsync_"


def compare(
    place: str, station: TableShape, control: TableShape, options: TableOptions, without_key: WithoutKey | None = None
) -> Fit:
    """Pair the columns and list what is wrong (`Finding.refused`) or doubtful. `without_key`: rows with NULL in the
    key, where somebody counted them."""
    options = spelled(options, control, station)
    fit = paired(place, station, control, options)
    return replace(fit, findings=tuple(_findings(fit, options, without_key or WithoutKey())))


def alone(place: str, control: TableShape, options: TableOptions, names: Collection[str] | None) -> Fit:
    """Control's table with itself, for what asks no station: of the columns that a station has (`names`, its own),
    or of all where that is not known."""
    options = spelled(options, control)
    rename = ByName(options.rename.items())
    known = None if names is None else {rename.get(name, name).lower() for name in names}
    own = control.columns if known is None else tuple(c for c in control.columns if c.name.lower() in known)
    fit = paired(place, replace(control, columns=own), control, options.model_copy(update={"rename": {}}))
    # Of the station's own table nothing is known: what is wrong is wrong at control.
    fit = replace(fit, sides=(Side.CONTROL,))
    return replace(fit, findings=tuple(_findings(fit, options, WithoutKey())))


def _findings(fit: Fit, options: TableOptions, without_key: WithoutKey) -> Iterator[Finding]:
    if no_tables := [_kind_finding(fit, side, shape) for side, shape in _tables(fit) if shape.kind != "table"]:
        yield from no_tables
        return
    for side, shape in _tables(fit):
        if not shape.transactional:
            yield transactions_finding(_side_place(fit, side), shape, side)
    yield from _key_findings(fit, options, without_key)
    yield from _modified_findings(fit, options)
    yield from _created_findings(fit)
    both_ways = options.direction is TableDirection.BOTH
    for column in fit.columns:
        yield from _type_findings(fit, column, both_ways=both_ways)
        yield from _server_findings(fit, column)
        if folded(column.name).startswith(_OWN_NAMES):
            what = f"names that begin with {_OWN_NAMES} are our own in the tables that we keep."
            yield _refused(f"{fit.place}, column {column.name}", what, "Name it under exclude:")
    yield from _left_out(fit, options)
    yield from _control_findings(fit)
    if options.deletes is Deletes.FLAG and (options.flag_column or "") not in fit.control:
        what = f"there is no column {options.flag_column} to flag deleted rows with"
        add = f"ALTER TABLE {sql_name(fit.control.name)} ADD COLUMN {sql_name(options.flag_column or '')} datetime NULL"
        yield _refused(f"{fit.place}, control", what, f"Add it: {add}")


def _server_findings(fit: Fit, column: Synced) -> Iterator[Finding]:
    """What two servers print in two ways is never equal."""
    servers = {fit.station.server, fit.control.server}
    if len(servers - {""}) < 2 or Side.STATION not in fit.sides:
        return
    if column.station.family is Family.FLOAT:
        both = f"{fit.station.server} at the station and {fit.control.server} at control"
        yield _refused(
            f"{fit.place}, column {column.name}",
            f"{both} print {column.station.type} in two ways: rows that are equal would differ for ever.",
            "Make it DECIMAL at both sides, or name it under exclude:",
        )


def _refused(place: str, what: str, next_step: str = "") -> Finding:
    return Finding(place, what, next_step, refused=True)


def _kind_finding(fit: Fit, side: Side, shape: TableShape) -> Finding:
    """Of a view nobody knows whether it has a row twice, or loses one without a stamp."""
    option = f"{side}_table"
    step = f"Name the table that the rows come from: {option}: TABLE" if shape.kind == "view" else ""
    return _refused(
        _side_place(fit, side), f"{shape.name} is a {shape.kind}, not a table; it is not synchronised.", step
    )


def transactions_finding(place: str, shape: TableShape, side: Side = Side.CONTROL) -> Finding:
    """At control everything rests on them. A station is written to by compare-and-set, which mends a half-done one."""
    what = f"the engine {shape.engine} of table {shape.name} has no transactions: "
    alter = f"ALTER TABLE {sql_name(shape.name)} ENGINE=InnoDB;"
    if side is Side.CONTROL:
        lost = "what a cut-off run had begun would stay half done, and writes of the application would be lost."
        return _refused(place, what + lost, f"Change it: {alter}")
    kept = "of a push that is cut off, the rows that were written stay; the next run compares them again."
    return Finding(place, what + kept, f"Better: {alter}")


def _side_place(fit: Fit, side: Side) -> str:
    return fit.place if fit.place.startswith("control/") else f"{fit.place}, {side.owner}"


def _tables(fit: Fit) -> Iterator[tuple[Side, TableShape]]:
    return ((side, fit.station if side is Side.STATION else fit.control) for side in fit.sides)


def _why_missing(fit: Fit, name: str, options: TableOptions) -> tuple[str, str]:
    """Why a column that is needed is not among the synchronised ones, and what to do."""
    own = next((own for own, control in options.rename.items() if control == name), name)
    if name in fit.control and fit.control[name].generated:
        return f"{name} is generated at control, where it could not be written", "Make it an ordinary column there."
    if own in fit.station and fit.station[own].generated:
        what = f"{own} is generated at the station, where it could not be written"
        return what, "Write direction: up, or name a column that the application writes."
    return f"{name} is not in {'both tables' if Side.STATION in fit.sides else 'the table'}", ""


def _key_findings(fit: Fit, options: TableOptions, without_key: WithoutKey) -> Iterator[Finding]:
    missing = [name for name in fit.key if name not in fit.by_name]
    for name in missing:
        what, step = _why_missing(fit, name, options)
        yield _refused(fit.place, f"key column {what}", step)
    if missing:
        return
    for side, shape in _tables(fit):
        names = own_names_of(fit, fit.key) if side is Side.STATION else fit.key
        place = _side_place(fit, side)
        if not any(set(unique) <= set(names) for unique in (*shape.unique, *shape.unique_prefixes)):
            ddl = f"ALTER TABLE {sql_name(shape.name)} ADD UNIQUE ({', '.join(map(sql_name, names))})"
            yield _refused(place, f"the key ({', '.join(names)}) is not unique.", f"Make it so: {ddl}")
        elif may_be_null := nullable(shape, names):
            yield _nullable_finding(place, side, shape, may_be_null, without_key.at(side))
    for name in fit.key:
        yield from _collation_findings(fit, fit.by_name[name])


def _nullable_finding(place: str, side: Side, shape: TableShape, names: Sequence[str], rows: int | None) -> Finding:
    """UNIQUE does not bind rows with NULL, so that such a row has no identity."""
    fate = "are not carried" if side is Side.STATION else "belong to no station and are left alone"
    counted = f" ({rows:,} now)" if rows is not None else ""
    what = f"key column {', '.join(names)} may be NULL: rows with NULL in the key{counted} {fate}."
    changes = ", ".join(f"MODIFY {sql_name(n)} {_definition(shape[n])} NOT NULL" for n in names)
    first = " Give those rows a key, or delete them, first." if rows else ""
    return Finding(place, what, f"To rule them out: ALTER TABLE {sql_name(shape.name)} {changes};{first}")


def _definition(column: Column) -> str:
    text = f" CHARACTER SET {column.charset} COLLATE {column.collation}" if column.charset and column.collation else ""
    return f"{column.type}{text}"


def _collation_findings(fit: Fit, column: Synced) -> Iterator[Finding]:
    own, theirs = column.station.collation, column.control.collation
    if own is None or theirs is None or _at_least_as_fine(theirs, own):
        return
    yield Finding(
        f"{fit.place}, key column {column.name}",
        f"collation {own} at the station, {theirs} at control: of rows whose keys are one for control, one travels and"
        " the others are kept in quarantine.",
        "To rule them out, give both the same collation.",
    )


def keys_may_clash(fit: Fit) -> bool:
    """Whether two rows of the station may be one for control."""
    pairs = [(fit.by_name[name].station.collation, fit.by_name[name].control.collation) for name in fit.key]
    return any(own is not None and theirs is not None and not _at_least_as_fine(theirs, own) for own, theirs in pairs)


# One character set in two widths: what their rules of one name say about a character is the same.
_UNICODE = {"utf8": "utf8mb4", "utf8mb3": "utf8mb4"}


def _at_least_as_fine(theirs: str, own: str) -> bool:
    """Whether keys that differ for the station always differ for control: the same rules, or bytes against them."""
    (charset, rules), (own_charset, own_rules) = (
        (_UNICODE.get(c, c), r) for c, _, r in (name.partition("_") for name in (theirs, own))
    )
    bytes_count = rules == "nopad_bin" or (rules == "bin" and "nopad" not in own_rules)
    return bytes_count or (rules == own_rules and charset == own_charset)


def _modified_findings(fit: Fit, options: TableOptions) -> Iterator[Finding]:
    column = fit.by_name.get(fit.modified)
    missing = next((name for name in fit.stamps if name not in fit.by_name), None)
    if missing is not None or column is None:
        what, step = _why_missing(fit, missing or fit.modified, options)
        yield _refused(fit.place, f"the modified column {what}", step)
        return
    for name in fit.stamps:
        own = fit.by_name[name].station
        if own.family not in MODIFIED_FAMILIES:
            what = f"the modified column {name} is {own.type}; it must be DATETIME or TIMESTAMP"
            yield _refused(fit.place, what)
        elif own.family is not column.station.family:
            what = f"the modified columns {fit.modified} and {name} are {column.station.type} and {own.type}"
            yield _refused(fit.place, f"{what}: they cannot be compared.", "Name columns of one kind.")
    names = own_names_of(fit, (fit.modified, *(n for n in fit.key if n in fit.by_name)))
    wanted = [names] if len(fit.stamps) == 1 else [own_names_of(fit, (name,)) for name in fit.stamps]
    at_control = [(name,) for name in fit.stamps]
    sides = [(s, t, i) for s, t in _tables(fit) for i in (wanted if s is Side.STATION else at_control)]
    for side, shape, index in sides:
        if not any(i[: len(index)] == index for i in shape.indexes):
            name = "stationsync_modified" if len(fit.stamps) == 1 else f"stationsync_{index[0]}"
            ddl = f"CREATE INDEX {sql_name(name)} ON {sql_name(shape.name)} ({', '.join(map(sql_name, index))})"
            yield Finding(
                _side_place(fit, side),
                f"no index on ({', '.join(index)}): runs are slow.",
                f"Create it: {ddl}",
            )


def _created_findings(fit: Fit) -> Iterator[Finding]:
    if fit.created is None:
        return
    column = fit.by_name.get(fit.created)
    if column is None:
        yield _refused(fit.place, f"the created column {fit.created} is not in both tables")
    elif column.station.on_update or column.control.on_update:
        what = f"the created column {fit.created} is changed by the server whenever its row is written (ON UPDATE)"
        yield _refused(fit.place, what, "Name a column that a row keeps for life, or none.")


def _type_findings(fit: Fit, column: Synced, *, both_ways: bool) -> Iterator[Finding]:
    own, theirs = column.station, column.control
    place = f"{fit.place}, column {column.name}"
    each = [(own if side is Side.STATION else theirs, side.owner) for side in fit.sides]
    for c, owner in each:
        if not c.supported:
            yield _refused(place, f"type {c.type} at {owner} cannot be synchronised.", "Name it under exclude:")
            return
    if why := changes_values(own, theirs):
        yield _refused(place, f"{own.type} at the station, {theirs.type} at control: {why}")
    elif both_ways and column.editable and (why := changes_values(theirs, own)):
        yield _refused(place, f"{theirs.type} at control, {own.type} at the station: {why}")
    for c, owner in each:
        if c.on_update and column.name != fit.modified:
            yield Finding(place, f"ON UPDATE at {owner}: the server changes the value whenever the row is written")
        if c.charset in ("utf8", "utf8mb3"):
            yield Finding(place, f"3-byte charset {c.charset} at {owner}: a row with an emoji will be quarantined")


def _only_control(fit: Fit, column: Column, options: TableOptions) -> str:
    own = next((own for own, control in options.rename.items() if control == column.name), column.name)
    return "it is generated at the station" if own in fit.station else "only control has it"


def _left_out(fit: Fit, options: TableOptions) -> Iterator[Finding]:
    synced = {c.name for c in fit.columns}
    for c in fit.control.columns:
        if c.name in synced or c.name in options.exclude:
            continue
        if c.required:
            yield _refused(
                f"{fit.place}, column {c.name}",
                f"{_only_control(fit, c, options)}, and it is NOT NULL without a default: no row could be inserted.",
                "Give it a default.",
            )
        else:
            why = "generated" if c.generated else "not at the station, or generated there"
            yield Finding(
                f"{fit.place}, column {c.name}",
                f"not synchronised ({why}); name it under exclude: to hush this",
            )
    for s in fit.station.columns:
        name = options.rename.get(s.name, s.name)
        if name not in fit.control and name not in options.exclude:
            yield Finding(f"{fit.place}, column {s.name}", "not synchronised: control does not have it")


def _control_findings(fit: Fit) -> Iterator[Finding]:
    names = set(fit.names)
    for unique in fit.control.unique:
        if set(unique) != set(fit.key) and set(unique) & names:
            what = f"extra unique key ({', '.join(unique)}): a row that breaks it will be quarantined"
            yield Finding(f"{fit.place}, control", what)
    for unique in fit.control.unique_prefixes:
        what = f"unique key over the beginning of ({', '.join(unique)}): of rows that begin alike, one is quarantined"
        yield Finding(f"{fit.place}, control", what)
    for trigger in fit.control.triggers:
        yield Finding(f"{fit.place}, control", f"trigger {trigger}: what it changes in a row counts as control's edit")
