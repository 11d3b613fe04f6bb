"""Connections, and all that differs between databases. `dialect` says what a dialect has to do; `mariadb/` and
`sqlite/` do it; `statements` are spelled for both. No other package knows a dialect by name or an error by its
number.

Nothing here knows of stations, or of what our own tables hold. Begin with `dialect`."""
