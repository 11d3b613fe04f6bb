"""One pair at work: taking the lease and trying again (`lease`), the control session that holds it and both tables as
Core knows them (`session`), what its run knows (`known`), temporary tables (`stage`), and reading rows of the station
(`extract`).

Nothing here decides what is written. Begin with `session`."""
