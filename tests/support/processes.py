"""Looking at processes that may end at any moment, also between two looks."""

from __future__ import annotations

import contextlib

import psutil


def name(process: psutil.Process) -> str:
    """Empty where it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return str(process.name())
    return ""


def command_line(process: psutil.Process) -> str:
    """Empty where it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return "\0".join(process.cmdline())
    return ""


def ports(process: psutil.Process) -> set[int]:
    """On which it listens; none where it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        found = process.net_connections("tcp")
        return {one.laddr.port for one in found if one.status == psutil.CONN_LISTEN}
    return set()


def parent(process: psutil.Process) -> psutil.Process | None:
    """None where it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.parent()
    return None


def kill(process: psutil.Process) -> None:
    """kill -9; well where it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()
