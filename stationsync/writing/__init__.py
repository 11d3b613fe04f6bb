"""Rows that cannot simply be written: values of a unique index that are handed on (`unique_moves`, and `reinserting`
where no value is free), rows that refer to each other or to one that is not there yet (`references`, `waiting`), rows
that somebody keeps locked (`locked`), rows that are refused among others (`halving`).

Which rows are written, and to which side, `sync` decides. Begin with `unique_moves`."""
