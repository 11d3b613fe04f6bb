"""Imported by the process that runners are forked from: validates one row, so that the libraries for it are there."""

from __future__ import annotations

import os

from stationsync.sync.validation import validate_one_row

os.environ["GX_ANALYTICS_ENABLED"] = "false"
validate_one_row()
