"""What must not get lost: marks, results and quarantine (`books`), versions that a write replaces and that its writer
has not seen (`replaced`, `superseded`, `unseen`, `lacked`, `before`), and rows that were deleted (`trash`).

Whoever replaces or refuses a version calls this package; it writes no table of a station's. Begin with `replaced`."""
