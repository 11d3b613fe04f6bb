"""What only one kind of run has to tell, beside what every report has: frozen values, and their JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

from stationsync.model.plan import Share
from stationsync.model.stored_text import as_json as as_plain

# Keys of rows as they are printed, and of some rows by what was found with them.
Keys = Sequence[Sequence[str]]
Samples = Mapping[str, Keys]
Json = dict[str, object]


@dataclass(frozen=True)
class RunDetails:
    """Of a pull or push. `without_key`, `without_date`: the station's rows with NULL in the key, or no date in
    `modified`, where it has any. `more`: it ended although there is more."""

    without_key: int = 0
    without_date: int = 0
    more: bool = False


@dataclass(frozen=True)
class PlanDetails:
    """Of a dry run of a pull, push or backfill."""

    plan: tuple[Share, ...]


@dataclass(frozen=True)
class ReconcileDetails:
    """`found`: rows by how they differ. `rows`, `checksum`: what was proved equal, but for the `exceptions`; None where
    nothing was. `plan`: of a dry run. `more`: it ended although there is more."""

    dry_run: bool
    ranges: int
    found: Mapping[str, int]
    samples: Samples
    rows: int | None
    checksum: str | None
    exceptions: Mapping[str, int]
    without_key: int = 0
    plan: tuple[Share, ...] = ()
    more: bool = False


@dataclass(frozen=True)
class ReseedDetails:
    """Of a reseed, or of a `trust`. `found`: rows by what became of them. `kept`: versions that were superseded.
    `refused`: rows that the station does not take."""

    dry_run: bool
    found: Mapping[str, int]
    samples: Samples
    kept: int
    refused: int
    locked_keys: Keys


@dataclass(frozen=True)
class Left:
    """Rows that were left as they are, and why; the keys of all, or of some."""

    why: str
    rows: int
    keys: tuple[str, ...]


@dataclass(frozen=True)
class JournalRead:
    """`unnamed`: files that the bookkeeping does not name."""

    files: int = 0
    unnamed: int = 0
    records: int = 0


@dataclass(frozen=True)
class ReseedControlDetails:
    """`found`: rows by what becomes of them. `rows`: those that control gets, `of_journal` of them from the journal and
    `edits` of them with an edit of control's that had not gone down. `returned`: rows that were deleted before."""

    dry_run: bool
    plan: tuple[Share, ...]
    found: Mapping[str, int]
    samples: Samples
    rows: int
    of_journal: int
    edits: int
    journal: JournalRead
    kept: int
    refused: int
    returned: int
    locked_keys: Keys
    left: tuple[Left, ...]

    @property
    def of_base(self) -> int:
        """Rows that control gets from the bookkeeping."""
        return self.rows - self.of_journal


@dataclass(frozen=True)
class RevertDetails:
    """`sent`: rows that the station got; None where nothing was sent."""

    dry_run: bool
    plan: tuple[Share, ...]
    left: tuple[Left, ...]
    locked_keys: Keys
    sent: int | None = None


@dataclass(frozen=True)
class LeftConflict:
    """A conflict whose answer was not taken, by its number: why, what can be done, and control's row as it is now,
    where it is another than the conflict left."""

    id: int
    why: str
    next_step: str = ""
    now: Mapping[str, object] | None = None


@dataclass(frozen=True)
class TakeDetails:
    """Of `conflicts take`: the numbers of conflicts that were answered, or of a dry run would be; and the others."""

    dry_run: bool
    plan: tuple[Share, ...]
    taken: tuple[int, ...]
    left: tuple[LeftConflict, ...]


@dataclass(frozen=True)
class BackfillDetails:
    """`asked`: the range, in words. `rows`: that were read in all its runs, of `expected`. `resumed`: it was taken up
    where it had stopped. `more`: it stopped although there is more."""

    asked: str
    rows: int
    expected: int | None
    resumed: bool
    more: bool = False


Details = (
    RunDetails
    | PlanDetails
    | ReconcileDetails
    | ReseedDetails
    | ReseedControlDetails
    | RevertDetails
    | TakeDetails
    | BackfillDetails
)


def plan_of(details: Details | None) -> tuple[Share, ...]:
    """What would be done, or of a revert what was; empty of other runs."""
    match details:
        case PlanDetails() | ReconcileDetails() | ReseedControlDetails() | RevertDetails() | TakeDetails():
            return details.plan
        case _:
            return ()


def plan_as_json(plan: Sequence[Share]) -> Json:
    """Of a dry run."""
    return {"dry_run": True, "plan": _shares(plan)}


def as_json(details: Details | None) -> Json:
    """As `--json` prints it, among the fields that every report has."""
    match details:
        case None:
            return {}
        case RunDetails(without_key, without_date, more):
            return _any(without_key=without_key, without_date=without_date, more=more)
        case PlanDetails(plan):
            return plan_as_json(plan)
        case ReconcileDetails():
            return _reconcile(details)
        case ReseedDetails():
            return {
                "dry_run": details.dry_run,
                "found": dict(details.found),
                "samples": _samples(details.samples),
                "kept": details.kept,
                "refused": details.refused,
                "locked_keys": _keys(details.locked_keys),
            }
        case ReseedControlDetails():
            return _reseed_control(details)
        case RevertDetails(dry_run, plan, left, locked_keys, sent):
            told = {"dry_run": dry_run, "plan": _shares(plan), "left": _left(left), "locked_keys": _keys(locked_keys)}
            return told if sent is None else {**told, "sent": sent}
        case TakeDetails(dry_run, plan, taken, left_conflicts):
            left_ones = [_left_conflict(one) for one in left_conflicts]
            return {"dry_run": dry_run, "plan": _shares(plan), "taken": list(taken), "left": left_ones}
        case BackfillDetails(asked, rows, expected, resumed, more):
            told = {"asked": asked, "rows": rows, "expected": expected, "resumed": resumed}
            return {"backfill": {**told, **_any(more=more)}}
        case _:
            assert_never(details)


def _reconcile(details: ReconcileDetails) -> Json:
    return {
        "dry_run": details.dry_run,
        "ranges": details.ranges,
        "found": dict(details.found),
        "samples": _samples(details.samples),
        "rows": details.rows,
        "checksum": details.checksum,
        "exceptions": dict(details.exceptions),
        **_any(without_key=details.without_key),
        **({"plan": _shares(details.plan)} if details.dry_run else {}),
        **_any(more=details.more),
    }


def _reseed_control(details: ReseedControlDetails) -> Json:
    journal = details.journal
    return {
        "dry_run": details.dry_run,
        "plan": _shares(details.plan),
        "found": dict(details.found),
        "samples": _samples(details.samples),
        "rows": details.rows,
        "sources": {"journal": details.of_journal, "base": details.of_base},
        "edits": details.edits,
        "journal": {"files": journal.files, "unnamed": journal.unnamed, "records": journal.records},
        "kept": details.kept,
        "refused": details.refused,
        "returned": details.returned,
        "locked_keys": _keys(details.locked_keys),
        "left": _left(details.left),
    }


def _any(**fields: object) -> Json:
    """Those that there is any of: the others are not told."""
    return {name: value for name, value in fields.items() if value}


def _shares(plan: Sequence[Share]) -> list[Json]:
    return [share.as_dict() for share in plan]


def _samples(samples: Samples) -> dict[str, list[list[str]]]:
    return {kind: _keys(keys) for kind, keys in samples.items()}


def _keys(keys: Keys) -> list[list[str]]:
    return [list(key) for key in keys]


def _left(left: Sequence[Left]) -> list[Json]:
    return [{"why": one.why, "rows": one.rows, "keys": list(one.keys)} for one in left]


def _left_conflict(one: LeftConflict) -> Json:
    now = None if one.now is None else {name: as_plain(value) for name, value in one.now.items()}
    return {"id": one.id, "why": one.why, "next_step": one.next_step, "now": now}
