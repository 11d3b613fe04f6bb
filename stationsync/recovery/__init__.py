"""What a person starts when something went wrong: `backfill`, `reseed` for a station, `reseed_control` for control
(from the base and the journal, tables in the order of `parents_first`), `revert`, the answer to a conflict (`take`),
and what to do with `quarantine`.

Every write goes through the steps of `sync`. Begin with `reseed`."""
