"""Our own tables at control: their definitions (`bookkeeping`), what the base's mark of a row means (`pending`),
values that are kept as JSON (`kept`), pauses, and the shapes that tables had when a run was last good.

What is written into them when, the packages behind this one decide. Begin with `bookkeeping`."""
