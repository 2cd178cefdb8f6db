"""One loader per kind of dataset, selected by `dataset.loader`."""
