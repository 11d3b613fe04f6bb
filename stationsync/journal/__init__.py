"""What a transaction of control changed, as a file that is there exactly if it was committed: writing (`recorder`),
the form of a file (`format`), where files are (`place`), the table that names them (`catalog`), reading and pruning.

Which rows a file tells of, `sync` says. Begin with `recorder`."""
