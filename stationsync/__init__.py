"""The engine. Its packages in the order in which they build on each other, each importing from those before it only:
model, topology, database, pairing, store, journal, session, keeping, writing, rollback, sync, reconcile, setup, health,
onboarding, recovery, maintenance, explain. Errors of all of them are in `errors`."""
