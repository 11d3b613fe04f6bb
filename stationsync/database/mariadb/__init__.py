"""MariaDB: `dialect` is the way in; beside it the session's settings, types, text, bulk loads, digests, errors and
their numbers, the login, what a server cannot make (`limits`) and what our user may do there (`trials`)."""
