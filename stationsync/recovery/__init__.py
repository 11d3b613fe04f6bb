"""What a person starts when something went wrong: `backfill`, `reseed` and `reseed_control`, `replay` from the
journal (both `parents_first`), `revert`, and what to do with `quarantine`.

Every write goes through the steps of `sync`. Begin with `reseed`."""
