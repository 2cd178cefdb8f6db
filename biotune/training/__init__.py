"""One training run: the loop, what a worker keeps between trials, and the final model."""
