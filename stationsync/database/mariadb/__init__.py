"""MariaDB and MySQL: `dialect` is the way in; beside it the session's settings, types, text, bulk loads, digests,
errors and the login, one module each."""
