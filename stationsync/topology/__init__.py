"""stations.yaml: everything that an operator writes. Its models (`model`), how the file is read and where in it a
fault is (`topology_file`, `positions`), secrets and TLS, durations and sizes as they are written (`notation`).

Nothing here connects to a database. Begin with `model`."""
