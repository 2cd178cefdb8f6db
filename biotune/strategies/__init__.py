"""The usual methods of fine-tuning, one file for each family, all through the one training loop."""
