"""What operators look at: `check` before a run, `status` and `freshness` after it, `incidents` for alerts, `metrics`,
and the rules of the watchdog (`watch`).

Everything here reads, and repairs nothing. Begin with `status`."""
