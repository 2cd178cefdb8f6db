"""What each command does, without a terminal. `run.py` is the file to read first."""
