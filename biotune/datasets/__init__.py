"""Datasets: where images come from, how they are split and folded, and the decoded cache."""
