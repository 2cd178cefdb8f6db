"""One loader for each kind of dataset, found by `dataset.loader`."""
