"""SQLite, for the demo and for quick tests: `dialect` is the way in."""
