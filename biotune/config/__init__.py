"""The configuration: every key with its type, default, bounds and meaning. Imports neither Hydra nor torch."""
