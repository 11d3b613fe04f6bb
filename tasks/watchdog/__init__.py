"""What the watchdog does as tasks: looks at runs, workers and slots; puts right what it may; tells what it found."""
