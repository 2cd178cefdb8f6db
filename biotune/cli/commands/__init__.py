"""Commands that only show or use something. No Hydra."""
