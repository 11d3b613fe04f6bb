"""What is over and old goes, in short transactions: entries of our tables and long values without an owner
(`tables`), log files (`prune`); `rule` says how old is old.

Nothing that is unresolved is touched. Begin with `prune`."""
