"""One table at a station and the same at control: whether they fit (`fit`, `fitting`, `drift`), how keys and stamps
compare (`keys`, `stamp`, `stamp_zone`), from where a run reads (`watermark`), which of two versions wins (`decide`),
whether a table went back (`went_back_rule`).

Rules without I/O, but for `pair`, which names the two places. Begin with `decide`."""
