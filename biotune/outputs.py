"""What networks return: one tensor of logits, whatever shape their output has."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def main_output(output: Any) -> Tensor:
    """The logits of a network that returns several things: the first, or the one called `logits` or `out`."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        return main_output(output["logits"] if "logits" in output else output["out"])
    return main_output(output[0])
