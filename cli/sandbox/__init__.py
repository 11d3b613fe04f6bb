"""Private database servers on free ports, for the demo, the drill, tests and benches; each ends with its process."""
