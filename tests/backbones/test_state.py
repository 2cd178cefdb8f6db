"""State dicts keep their metadata, by which layers tell the version of their layout."""

from __future__ import annotations

import torch
from torch import nn

from biotune.backbones.state import copy_state, keep_entries, restore


class Versioned(nn.Linear):
    """Refuses a state dict without its version, as torchvision's MNASNet does."""

    _version = 3

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *rest):  # type: ignore[no-untyped-def]
        assert local_metadata.get("version") == 3
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)


def test_a_copy_has_the_metadata_and_memory_of_its_own() -> None:
    module = nn.Sequential(Versioned(2, 2), nn.BatchNorm1d(2))
    copy = copy_state(module)
    before = module[0].weight.detach().clone()
    with torch.no_grad():
        module[0].weight.zero_()
    assert copy._metadata == module.state_dict()._metadata  # type: ignore[attr-defined]
    assert torch.equal(copy["0.weight"], before)
    assert not copy["0.weight"].requires_grad
    restore(module, copy)
    assert torch.equal(module[0].weight, before)


def test_a_state_without_metadata_counts_as_the_modules_own() -> None:
    module = Versioned(2, 2)
    restore(module, {"weight": torch.ones(2, 2), "bias": torch.zeros(2)})
    assert torch.equal(module.weight, torch.ones(2, 2))


def test_a_part_keeps_the_metadata() -> None:
    state = nn.BatchNorm1d(2).state_dict()
    part = keep_entries(state, lambda name: name == "weight")
    assert list(part) == ["weight"]
    assert part._metadata == state._metadata  # type: ignore[attr-defined]


def test_channels_last_stays() -> None:
    module = nn.Conv2d(2, 2, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert copy_state(module)["weight"].is_contiguous(memory_format=torch.channels_last)
