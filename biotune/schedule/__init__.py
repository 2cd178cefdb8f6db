"""Layer schedules: what is trained, how fast, in which order; their files, and how they are put on a model."""
