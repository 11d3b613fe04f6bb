"""Rows that cannot simply be written: values of a unique index that are handed on (`unique_moves`), rows that refer
to each other or to one that is not there yet (`references`, `waiting`), rows that somebody keeps locked (`locked`).

Which rows are written, and to which side, `sync` decides. Begin with `unique_moves`."""
