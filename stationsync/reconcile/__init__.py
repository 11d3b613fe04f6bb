"""Whole tables compared, repaired and proved equal: `scan` and `compare` find what differs, `repair` and `deletes`
put it right by the steps of `sync`, `proof` says what is equal.

No second merge lives here. Begin with `reconcile`."""
