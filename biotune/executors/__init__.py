"""Executors of trials: in this process or in a pool of worker processes; every result is journalled as the trial ends."""
