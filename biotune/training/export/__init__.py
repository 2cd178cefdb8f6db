"""A run's final model in the formats of other programs: one module per kind of format."""
