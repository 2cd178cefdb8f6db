"""Shell completion. Imports neither Hydra nor torch, so that TAB answers at once."""
