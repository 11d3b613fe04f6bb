"""The tables that we make at control, all in one."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()
