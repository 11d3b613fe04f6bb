"""One pair at work: the lease, the control session that holds it and both tables as Core knows them (`session`),
waiting for the lease (`retrying`), temporary tables (`stage`), and reading rows of the station (`extract`).

Nothing here decides what is written. Begin with `session`."""
