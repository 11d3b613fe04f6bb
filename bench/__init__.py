"""`make bench`: the product against the yardstick, in one run on the same servers."""
