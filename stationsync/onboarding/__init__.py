"""The first hour: the folder of a fleet of one's own (`new_folder`), and a station or a table added to it after a look
at the real databases (`adding`).

What is proposed is decided by rules without I/O: `key_choice` and `stamp_choice` for what a row is known and stamped
by, `proposal` for the whole entry and control's table, `suite_draft` for the rules on its rows. `look` reads what these
decide from, `files` writes whole files or none. Begin with `proposal`."""
