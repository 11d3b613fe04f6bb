"""What a run reports, as `--json` prints it."""

from __future__ import annotations

from typing import Any

from stationsync.model.changes import Report


def json_of(report: Report) -> dict[str, Any]:
    return report.as_dict()
