"""Knowing a side that went back: a station that was restored, emptied or made anew (`went_back`, by what was
`remembered`), a control that is older than its base (`older_control`), and the brake for what would delete too much.

What is then given back to whom a person decides: see `recovery`. Begin with `went_back`."""
