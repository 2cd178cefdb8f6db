"""Where trials run: in this process or in a pool of worker processes, journalled as they end."""
