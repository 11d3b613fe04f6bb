"""`stationsync journal`: its commands, what limits a listing, and how records are printed."""
