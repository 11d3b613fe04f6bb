"""How large a MariaDB database is, and how full the disk that it is on."""

from __future__ import annotations

from pathlib import PurePosixPath

import sqlalchemy as sa

from stationsync.dialects import Sizes

_SIZE = sa.text(
    "SELECT COALESCE(SUM(data_length + index_length), 0) FROM information_schema.tables WHERE table_schema = DATABASE()"
)
_HAS_DISKS = sa.text(
    "SELECT COUNT(*) FROM information_schema.plugins WHERE plugin_name = 'DISKS' AND plugin_status = 'ACTIVE'"
)
_DISKS = sa.text("SELECT path, total, available FROM information_schema.disks")
_DATADIR = sa.text("SELECT @@datadir")
_BLOCK = 1024


def sizes(conn: sa.Connection) -> Sizes:
    """The disk is told by servers with the plugin DISKS, to users who may read files (grant FILE)."""
    data = int(conn.scalar(_SIZE) or 0)
    if not conn.scalar(_HAS_DISKS):
        return Sizes(data)
    try:
        rows = conn.execute(_DISKS).all()
    except sa.exc.DBAPIError:  # we may not see them
        return Sizes(data)
    here = PurePosixPath(str(conn.scalar(_DATADIR)))
    disks = [(PurePosixPath(path), total, free) for path, total, free in rows]
    holding = [disk for disk in disks if here.is_relative_to(disk[0])]
    nearest = max(holding, key=lambda disk: len(disk[0].parts), default=None)
    return Sizes(data, ((nearest[2] * _BLOCK, nearest[1] * _BLOCK),) if nearest else ())
