"""Layer schedules: which blocks are trained, at which learning rates, in which order; their files; applying them to a model."""
