"""Vocabulary that every other package speaks: rows as the database printed them (`wire`), columns and tables as the
server describes them (`schema`), what a run reports and a check notes (`changes`; `details` and `plan` of one kind of
run), why a row is in quarantine (`reasons`), text that is safe to show (`printable`), durations and sizes (`amounts`),
values that a person types (`typed_in`).

No connection, no topology, no decision lives here. Begin with `wire`."""
