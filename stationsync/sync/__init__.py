"""A changed row's way up and an edit's way down. `runs` is the loop; it begins with what is known (`beginning`); its
steps are read, `validation`, `merge`, `push` (with `send`, the station's transaction). `rehearse` is the same loop with
steps that do not write.

Whole tables are compared in `reconcile`. Begin with `runs`."""
