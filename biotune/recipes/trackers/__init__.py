"""Experiment trackers: they are told of a run while it goes on, each by a process of its own."""
