"""A history of the drill: steps as frozen values that can be written to a file, read back, replayed and shrunk."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

CONTROL = "control"
Key = tuple[int, str]

# Faults that the run brings about itself before it sends a statement; "sent" kills it between question and answer.
INNER = ("kill", "sent", "deadlock", "lock wait", "full", "lost")
# Faults from outside. `amount` is milliseconds (slow, freeze) or bytes (cut up, cut down).
OUTER = ("kill sessions", "kill server", "freeze", "cut", "refuse", "half open", "slow", "cut up", "cut down", "heal")


@dataclass(frozen=True)
class Write:
    """An application writes a row: an INSERT where its station has no such row. `late`: seconds that the stamp lies
    back; `stamped`: whether the stamp is touched at all. `form`: good, long (too long for control), marked (against
    the suite). `cut`: the application loses its connection at COMMIT. `tx`: part of that open transaction. `waits`:
    in a thread, for locks, while everything else goes on."""

    side: str
    key: Key
    columns: tuple[str, ...] = ("text",)
    late: int = 0
    stamped: bool = True
    form: str = "good"
    cut: str = ""
    tx: int = 0
    waits: bool = False


@dataclass(frozen=True)
class Delete:
    side: str
    key: Key
    tx: int = 0


@dataclass(frozen=True)
class End:
    """The end of an open transaction."""

    tx: int
    commit: bool = True


@dataclass(frozen=True)
class Own:
    """Control's application writes a column that is control's own."""

    key: Key


@dataclass(frozen=True)
class Jump:
    """A clock is set."""

    side: str
    seconds: int


@dataclass(frozen=True)
class Pass:
    """Time goes by everywhere."""

    seconds: int


@dataclass(frozen=True)
class Alter:
    """The table gets a column more."""

    side: str


@dataclass(frozen=True)
class Init:
    """Somebody types `stationsync init`."""


@dataclass(frozen=True)
class Backup:
    """Somebody keeps the rows of a side as they are, for a later `Restore`."""

    side: str = CONTROL


@dataclass(frozen=True)
class Restore:
    """The rows of a side are as they were at its last `Backup`, our bookkeeping is not. Of control: then `stationsync
    reseed-control` for every station, killed at these statements. A station's table is made anew, and what somebody
    types then is `Setting.answer`."""

    kills: tuple[int, ...] = ()
    side: str = CONTROL


@dataclass(frozen=True)
class Lose:
    """A station's newest rows are lost, all where `rows` is 0: its table is made anew, and its numbers go on behind
    the rows that are left."""

    station: str
    rows: int = 0


@dataclass(frozen=True)
class Include:
    """The column `extra` is no longer excluded, from the next `init` on."""


@dataclass(frozen=True)
class Permute:
    """In one transaction the values of the second unique index go round among these rows. `how`: rotate; shift (the
    last row gets a new value); close up (the first row is deleted, the next one takes its value, and so on)."""

    side: str
    keys: tuple[Key, ...]
    how: str = "rotate"


@dataclass(frozen=True)
class Link:
    """In one transaction each of these rows refers to the next one, and the last one to none or, in a circle, to the
    first. A station inserts what it has not."""

    side: str
    keys: tuple[Key, ...]
    circle: bool = False


@dataclass(frozen=True)
class Fault:
    what: str
    side: str = ""
    amount: int = 0


@dataclass(frozen=True)
class Point:
    """What happens when a run has come to its statement number `at`."""

    at: int
    do: Step


@dataclass(frozen=True)
class Run:
    """A run of the engine. `blocked`: what happens once it waits for a lock. `threaded`: pages are read ahead in a
    thread, as in real life, and not in an order that replays alike. `key`: the row that `trash restore` is to bring
    back, or of which `conflicts take` answers the newest open conflict."""

    station: str
    what: str
    points: tuple[Point, ...] = ()
    blocked: tuple[Step, ...] = ()
    threaded: bool = False
    key: Key | None = None


Applied = Write | Delete | Own | Permute | Link
Step = Applied | End | Jump | Pass | Alter | Init | Backup | Restore | Lose | Include | Fault | Run
_ALL = (
    *(Write, Delete, Own, Permute, Link, End, Jump, Pass, Alter, Init),
    *(Backup, Restore, Lose, Include, Fault, Run, Point),
)
_KINDS: dict[str, type[Any]] = {kind.__name__.lower(): kind for kind in _ALL}


@dataclass(frozen=True)
class Setting:
    """What holds for a whole history."""

    policy: str = "newest"
    stations: int = 2
    deletes: str = "ignore"
    suite: bool = False
    # Whether reconcile is part of the peace at the end; without it nothing happens that only a sweep can find.
    sweeps: bool = False
    fraction: bool = False
    page_rows: int = 2
    # Whether every row is edited once more at the end: that must not use up control's numbers.
    edits_last: bool = False
    # What somebody types where a station is refused as restored: trust or reseed.
    answer: str = "trust"
    # The table has a column that a row keeps for life, and the option that says so.
    created: bool = False
    # A column with a second unique index.
    seats: bool = False
    # Columns that refer to another row of the table.
    links: bool = False
    # The column `extra` is there at all sides, and excluded until `Include`.
    excluded: bool = False
    # The applications stamp in that zone, which is not the stations' servers'.
    zone: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"station-{n}" for n in range(1, self.stations + 1))


@dataclass(frozen=True)
class History:
    seed: int
    setting: Setting
    steps: tuple[Step, ...]


def to_text(history: History) -> str:
    """JSON, one step a line."""
    head = json.dumps({"seed": history.seed, "setting": dataclasses.asdict(history.setting)})
    return "\n".join([head, *(json.dumps(_plain(step)) for step in history.steps)]) + "\n"


def from_text(text: str) -> History:
    """Raises ValueError where the text is no history."""
    try:
        head, *lines = (json.loads(line) for line in text.splitlines() if line.strip())
        return History(int(head["seed"]), Setting(**head["setting"]), tuple(_value(line) for line in lines))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a history of the drill: {error}") from error


def _plain(value: Any) -> Any:
    """Without what is as it mostly is."""
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    fields = [(f.name, getattr(value, f.name), f.default) for f in dataclasses.fields(value)]
    return {"step": type(value).__name__.lower()} | {n: _plain(v) for n, v, default in fields if v != default}


def _value(data: Any) -> Any:
    if isinstance(data, list):
        return tuple(_value(one) for one in data)
    if not isinstance(data, dict):
        return data
    if isinstance(data.get("step"), str):
        return _KINDS[data["step"]](**{name: _value(value) for name, value in data.items() if name != "step"})
    raise ValueError(f"not a step: {data}")


def lines(history: History) -> list[str]:
    """As a person reads it."""
    s = history.setting
    head = f"{s.stations} stations, conflicts: {s.policy}, deletes: {s.deletes}, pages of {s.page_rows}"
    extras = [
        word
        for word, on in (
            ("sweeps", s.sweeps),
            ("a suite", s.suite),
            ("stamps with fractions", s.fraction),
            ("created", s.created),
            ("a second unique index", s.seats),
            ("references", s.links),
            ("a column that is excluded at first", s.excluded),
            (f"stamps in {s.zone}", bool(s.zone)),
            ("who is restored is reseeded", s.answer == "reseed"),
        )
        if on
    ]
    told = [", ".join([head, *extras])]
    for number, step in enumerate(history.steps, 1):
        told.append(f"{number:3}. {tell(step)}")
        if isinstance(step, Run):
            told += [f"       at statement {point.at}: {tell(point.do)}" for point in step.points]
            told += [f"       when it waits for a lock: {tell(inner)}" for inner in step.blocked]
    return told


def tell(step: Step) -> str:
    match step:
        case Write():
            return _tell_write(step)
        case Delete():
            return f"{step.side} deletes {_name(step.key)}" + (f" in transaction {step.tx}" if step.tx else "")
        case End():
            return f"transaction {step.tx} {'commits' if step.commit else 'rolls back'}"
        case Own():
            return f"control writes its own column of {_name(step.key)}"
        case Jump():
            return f"the clock of {step.side} jumps by {step.seconds:+} s"
        case Pass():
            return f"{step.seconds} s go by"
        case Alter():
            return f"{step.side}'s table gets the column extra"
        case Init():
            return "stationsync init"
        case Lose():
            lost = f"its newest {step.rows} rows" if step.rows else "all its rows"
            return f"{step.station} loses {lost}, and its numbers start again"
        case Include():
            return "the column extra is no longer excluded"
        case Permute():
            return f"{step.side}: {step.how} the unique values of {', '.join(map(_name, step.keys))}"
        case Link():
            return f"{step.side} links {' -> '.join(map(_name, step.keys))}{', in a circle' if step.circle else ''}"
        case Backup():
            return f"a backup of {step.side}'s table"
        case Restore(side=side) if side != CONTROL:
            return f"{side}'s table is restored"
        case Restore():
            killed = f", killed at statements {', '.join(map(str, step.kills))}" if step.kills else ""
            return f"control's table is restored, and reseeded for every station{killed}"
        case Fault():
            return " ".join(filter(None, ["fault:", step.what, step.side, str(step.amount or "")]))
        case Run():
            words = [f"{step.what} {step.station}", *([_name(step.key)] if step.key else [])]
            return " ".join(words) + (", reading ahead" if step.threaded else "")


def _tell_write(step: Write) -> str:
    words = [f"{step.side} writes {', '.join(step.columns)} of {_name(step.key)}"]
    words += [f"too {step.form}" if step.form == "long" else step.form] if step.form != "good" else []
    words += [f"stamped {step.late} s ago"] if step.late and step.stamped else []
    words += [] if step.stamped else ["without touching modify_date"]
    words += [f"in transaction {step.tx}"] if step.tx else []
    words += [f"losing its connection with COMMIT's {step.cut}"] if step.cut else []
    words += ["waiting for locks"] if step.waits else []
    return ", ".join(words)


def _name(key: Key) -> str:
    return f"({key[0]}, {key[1]})"
