"""`alerts:` of the topology: what may stand there, and all problems at once, each with its line."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from stationsync.errors import UsageError
from stationsync.topology.alerting import Alerts, ChannelKind, Free, IncidentKind
from stationsync.topology.topology_file import load

HEAD = """\
control: {url: "sqlite:///c.db"}
tables:
  orders: {key: [id], modified: changed}
stations:
  station-1: {url: "sqlite:///s.db", group: remote}
  station-2: {url: "sqlite:///t.db"}
"""


def alerts(folder: Path, text: str) -> Alerts:
    file = folder / "stations.yaml"
    file.write_text(HEAD + text)
    return load(file).alerts


def test_channels_and_limits_as_they_are_written(tmp_path: Path) -> None:
    found = alerts(
        tmp_path,
        """\
alerts:
  channels:
    ops: {webhook: "${ALERT_WEBHOOK}"}
    chat: {slack: "${secret:slack-url}", kinds: [failed, crashed]}
    night: {email: "${file:/run/secrets/mail}", groups: [remote]}
    here: {log: {}, stations: [station-2]}
  tell:
    offline: {after: 2h}
    conflicts: null
    size: {over: 50GB}
    disk: {free: 5%}
""",
    )
    assert {name: channel.way for name, channel in found.channels.items()} == {
        "ops": ChannelKind.WEBHOOK, "chat": ChannelKind.SLACK, "night": ChannelKind.EMAIL, "here": ChannelKind.LOG
    }  # fmt: skip
    assert "ALERT_WEBHOOK" not in repr(found)
    assert found.tell.offline
    assert found.tell.size
    assert found.tell.disk
    assert (found.tell.offline.after, found.tell.conflicts) == (timedelta(hours=2), None)
    assert (found.tell.size.over, found.tell.disk.free) == (50 * 10**9, Free(percent=5))
    told = {
        (kind, station): [name for name, one in found.channels.items() if one.takes(kind, station, group)]
        for kind, station, group in (
            (IncidentKind.FAILED, "station-1", "remote"),
            (IncidentKind.STALE, "station-1", "remote"),
            (IncidentKind.STALE, "station-2", None),
            (IncidentKind.DISK, "", None),
        )
    }
    assert told == {
        (IncidentKind.FAILED, "station-1"): ["ops", "chat", "night"],
        (IncidentKind.STALE, "station-1"): ["ops", "night"],
        (IncidentKind.STALE, "station-2"): ["ops", "here"],
        (IncidentKind.DISK, ""): ["ops", "night", "here"],  # what is of no station is everybody's
    }


def test_without_the_section_everything_is_looked_for_and_nobody_told(tmp_path: Path) -> None:
    found = alerts(tmp_path, "")
    assert found == Alerts()
    assert found.channels == {}
    assert [kind for kind in IncidentKind if found.tell.rule(kind) is None] == [IncidentKind.SIZE]


def test_a_list_names_all_that_is_told(tmp_path: Path) -> None:
    found = alerts(tmp_path, "alerts: {tell: [failed, offline]}\n").tell
    assert {kind for kind in IncidentKind if found.rule(kind)} == {IncidentKind.FAILED, IncidentKind.OFFLINE}
    assert found.offline
    assert found.offline.after == timedelta(hours=1)


def test_all_problems_at_once_each_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        alerts(
            tmp_path,
            """\
alerts:
  channel: {}
  channels:
    ops: {webhook: "https://hooks.example/s3cr3t"}
    two: {slack: "${A}", log: {}}
    none: {kinds: [failed]}
    Ops: {log: {}}
    far: {log: {}, groups: [remot], stations: [station-3], kinds: [fail]}
    gone: {log: {}, groups: [remot], stations: [station-9]}
  tell:
    ofline: {after: 1h}
    quarantine: {rows: none}
    size: {}
    disk: {free: much}
""",
        )
    said = str(refused.value)
    assert "s3cr3t" not in said
    for problem in (
        "alerts.channel: unknown field; did you mean channels? (line 8)",
        "alerts.channels.ops: an address is a secret: write a reference, ${ENV}, ${file:/path} or ${secret:block}"
        " (line 10)",
        "alerts.channels.two: write one of webhook, slack, teams, email, apprise, log (line 11)",
        "alerts.channels.none: write one of",
        "alerts.channels.Ops: a channel's name has lower-case letters",
        "alerts.channels.far.kinds[0]: Input should be 'failed'",
        "alerts.channels.gone.groups[0]: no station is of this group; did you mean remote? (line 15)",
        "alerts.channels.gone.stations[0]: no such station",
        "alerts.tell.ofline: unknown kind of incident; did you mean offline? (line 17)",
        "alerts.tell.quarantine.rows: ",
        "alerts.tell.size.over: is missing (line 19)",
        "alerts.tell.disk.free: write a percentage",
    ):
        assert problem in said
