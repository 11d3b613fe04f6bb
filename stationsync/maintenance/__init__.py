"""What is over and old goes, in short transactions: entries of our tables (`tables`), long values without an owner
(`values`), log files (`logs`); `rule` says how old is old.

Nothing that is unresolved is touched. Begin with `prune`."""
