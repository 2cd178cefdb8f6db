"""Fits a state dict to a network: finds it in a checkpoint, takes the prefix off its names, checks it and loads it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from biotune.backbones.state import keep_entries, restore
from biotune.backbones.weights_file import State
from biotune.errors import BackboneError

_SHOWN = 3
_AVERAGED = {"ema", "swa", "averaged", "teacher"}  # words for weights averaged over the steps of a training run
# absent from weights saved by old versions of torch, and of no use to them
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class _Candidate:
    """A network's weights within a file.

    Attributes:
        place: The dotted place of the state dict in the file; "" for the file itself.
        prefix: What stands before the network's own names there, with its last dot; "" for nothing.
        matched: Number of the network's names that are found so.
    """

    place: str
    prefix: str
    matched: int

    @property
    def averaged(self) -> bool:
        """Whether its name says that the weights are averaged (EMA)."""
        return not _AVERAGED.isdisjoint(re.split(r"[._]", f"{self.place}.{self.prefix}".lower()))

    def __str__(self) -> str:
        return f"{self.place}.{self.prefix}".strip(".") or "the file's own entries"


def find_state(found: Mapping[str, State], module: nn.Module, head: str, origin: str) -> tuple[State, list[str]]:
    """Find a network's weights in a file, with the names that the network gives them.

    Weights fit where each parameter and buffer of the network's body is found behind one prefix: the attribute in which a
    training script kept the network (`model.`, `net.`), or what a wrapper adds (`module.`, `_orig_mod.`). Of several that
    fit, averaged ones (EMA) come first, then the first in the file. What does not lie behind the prefix is left aside.

    Args:
        found: The state dicts of the file, by their places.
        module: The network; its entries give the names.
        head: Path of the final linear layer, whose entries may be absent.
        origin: How remarks name the source, such as `backbone.weights=FILE`.

    Returns:
        The state dict, the one that comes closest if none fits; and remarks for the user on what was chosen and taken off.
    """
    own = {name for name in module.state_dict() if not name.startswith(head + ".") and not name.endswith(_COUNTER)}
    candidates = [candidate for place, state in found.items() for candidate in _candidates(place, state, own)]
    most = max(candidate.matched for candidate in candidates)
    best = [candidate for candidate in candidates if candidate.matched == most]
    chosen = min(best, key=lambda candidate: not candidate.averaged)
    whole = found[chosen.place]
    state = keep_entries(whole, lambda name: name.startswith(chosen.prefix))
    beside = [name for name in whole if not name.startswith(chosen.prefix)]
    for part in chosen.prefix.split(".")[:-1]:
        consume_prefix_in_state_dict_if_present(state, f"{part}.")  # one by one: of torch's metadata, it takes off one name
    others = [str(candidate) for candidate in best if candidate != chosen] if most == len(own) else []
    remarks = []
    if others:
        remarks.append(
            f"remark: {origin}: {chosen} is loaded; {listed(others)} would fit too. To use another, save it to a file "
            "of its own."
        )
    if chosen.prefix:
        left = f"; left aside: {listed(beside)}" if beside else ""
        remarks.append(f"remark: {origin}: its names are read without the prefix {chosen.prefix}{left}.")
    return state, remarks


def load_weights(module: nn.Module, state: State, head: str | None, origin: str, remedy: str) -> None:
    """Load a state dict in place, or all of it but the head; every other entry must be there, and no other may be.

    Args:
        module: The network with its own, already replaced head.
        state: Parameters and buffers by their dotted names, in the shapes of the module's own.
        head: Path of the final linear layer, whose entries are left aside because a fresh head takes its place; None
            loads the head too.
        origin: How error messages name the source, such as `backbone.weights=FILE`.
        remedy: The last sentence of error messages.

    Raises:
        BackboneError: Names are missing or unexpected, shapes differ, or an entry is no tensor.
    """
    given = keep_entries(state, lambda name: head is None or not name.startswith(head + "."))
    own = {name: value for name, value in module.state_dict().items() if head is None or not name.startswith(head + ".")}
    missing = sorted(name for name in own.keys() - given.keys() if not name.endswith(_COUNTER))
    unexpected = sorted(given.keys() - own.keys())
    both = sorted(own.keys() & given.keys())
    no_tensors = [name for name in both if not isinstance(given[name], Tensor)]
    shapes = [name for name in both if name not in no_tensors and own[name].shape != given[name].shape]
    problems = [
        f"{len(names)} {what} ({listed(names)})"
        for names, what in (
            (missing, "missing"),
            (unexpected, "unexpected"),
            (shapes, "of another shape"),
            (no_tensors, "that are no tensors"),
        )
        if names
    ]
    if problems:
        near = _nearest(missing, unexpected)
        raise BackboneError(f"{origin}: does not fit the network: {'; '.join(problems)}.{near} {remedy}")
    restore(module, given, strict=False)


def listed(names: Sequence[str]) -> str:
    """The first few names, for a message."""
    return f"{', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}"


def _candidates(place: str, state: State, own: set[str]) -> list[_Candidate]:
    """The prefixes behind which some of the network's names are found, in the order of the file; "" is always among them."""
    counts: Counter[str] = Counter({"": 0})
    for name in state:
        parts = name.split(".")
        for start in range(len(parts)):
            if (inner := ".".join(parts[start:])) in own:
                counts[name.removesuffix(inner)] += 1
    return [_Candidate(place, prefix, count) for prefix, count in counts.items()]


def _nearest(missing: Iterable[str], unexpected: Sequence[str]) -> str:
    """A sentence that sets the first missing names beside the most similar unexpected ones; empty if none is similar."""
    pairs = []
    for name in missing:
        if near := get_close_matches(name, unexpected, n=1):
            pairs.append(f"{name} is perhaps {near[0]}")
        if len(pairs) == _SHOWN:
            break
    return f" Closest names: {'; '.join(pairs)}." if pairs else ""
