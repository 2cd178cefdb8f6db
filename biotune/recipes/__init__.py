"""The work of each command, without a terminal. Read `run.py` first."""
