"""Pre-trained networks with a new head, and their blocks in forward order."""
