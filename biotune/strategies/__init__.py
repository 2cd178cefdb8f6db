"""Common fine-tuning methods, one file per family; all use the same training loop."""
