"""The configuration: every key with its type, default, bounds and meaning. Knows neither Hydra nor torch."""
