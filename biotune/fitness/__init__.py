"""Fitness of schedules: evaluation, cache, racing and pruning. Imports no torch."""
