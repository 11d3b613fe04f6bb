"""Keeping many stations equal for minutes on end, each synchronised again and again. A station is looked at with a
statement or two (`look`); only where something may have changed does a whole run begin (`sync.runs`), and one begins
from time to time anyway. `station` has what is known of a station between two looks and decides (`rule`), `rounds` is
the loop of one process, `processes` divides the stations among several, `child` is such a process.

A look moves no watermark and writes no row: whatever it overlooked, the next whole run finds. Begin with `rounds`."""
