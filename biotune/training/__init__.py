"""One training run: the training loop, the state a worker keeps between trials, and the final model."""
