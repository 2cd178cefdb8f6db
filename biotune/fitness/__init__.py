"""Schedules to numbers: evaluation, the cache, racing and pruning. Knows no torch."""
