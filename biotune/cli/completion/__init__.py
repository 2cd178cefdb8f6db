"""Shell completion. Imports neither Hydra nor torch: a TAB must not keep one waiting."""
