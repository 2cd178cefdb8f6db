"""Weights from local files: what is loaded, what is named when it does not fit, and that nothing pickled is executed."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from biotune.backbones.fitting import load_weights
from biotune.backbones.glyphnet import GlyphNet
from biotune.backbones.registry import build_network
from biotune.backbones.weights_file import read_weights
from biotune.config.sections import BackboneConfig
from biotune.errors import BackboneError

State = dict[str, Tensor]


def config(path: Path) -> BackboneConfig:
    return BackboneConfig("biotune", "glyphnet", str(path))


@pytest.fixture
def state() -> State:
    """A body of random weights with the head of another task (7 classes)."""
    torch.manual_seed(5)
    return {name: torch.randn_like(value.float()).to(value.dtype) for name, value in GlyphNet(7).state_dict().items()}


WRITERS: dict[str, Callable[[State, Path], Any]] = {
    "plain.pt": torch.save,
    "state_dict.pth": lambda state, path: torch.save({"state_dict": state, "epoch": 3}, path),
    "model.pth": lambda state, path: torch.save({"model": state}, path),
    "weights.safetensors": save_file,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_gives_the_body_and_leaves_the_new_head(name: str, state: State, tmp_path: Path) -> None:
    path = tmp_path / name
    WRITERS[name](state, path)
    loaded = build_network(config(path), 10).module.state_dict()
    fresh = build_network(BackboneConfig("biotune", "glyphnet", "none"), 10).module.state_dict()
    assert loaded["head.weight"].shape[0] == 10
    for entry, value in loaded.items():
        expected = fresh if entry.startswith("head.") else state
        assert torch.equal(value, expected[entry]), entry


def test_a_head_of_the_same_size_is_left_aside_too(tmp_path: Path) -> None:
    state = {name: torch.full_like(value, 3) for name, value in GlyphNet(10).state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    head = build_network(config(tmp_path / "w.safetensors"), 10).module.get_submodule("head")
    assert not (head.weight == 3).any()


def test_missing_unexpected_and_misshapen_entries_are_all_named(state: State, tmp_path: Path) -> None:
    state["layer9.conv1.weight"] = torch.zeros(1)
    del state["layer2.bn1.running_var"]
    state["stem.conv.weight"] = torch.zeros(12, 3, 3, 3)
    torch.save(state, tmp_path / "odd.pt")
    with pytest.raises(BackboneError) as refused:
        build_network(config(tmp_path / "odd.pt"), 10)
    message = str(refused.value)
    assert f"backbone.weights={tmp_path / 'odd.pt'}" in message
    assert "1 missing (layer2.bn1.running_var)" in message
    assert "1 unexpected (layer9.conv1.weight)" in message
    assert "1 of another shape (stem.conv.weight)" in message
    assert "\n" not in message


def test_a_refused_file_changes_nothing(state: State) -> None:
    module = GlyphNet(10)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    del state["stem.conv.weight"]
    with pytest.raises(BackboneError, match="stem.conv.weight"):
        load_weights(module, state, "head", "backbone.weights=x", "Give others.")
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_a_kept_head_comes_from_the_file_and_must_have_the_right_classes(state: State, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(state, path)
    keep = BackboneConfig("biotune", "glyphnet", str(path), head="keep")
    loaded = build_network(keep, 7).module.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in loaded.items())
    with pytest.raises(BackboneError, match=r"backbone\.head=keep: .*7 classes.*10 classes.*backbone\.head=new"):
        build_network(keep, 10)


def test_weights_without_batch_counters_are_taken_as_old_torch_saved_them(state: State, tmp_path: Path) -> None:
    old = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pt")
    assert torch.equal(
        build_network(config(tmp_path / "old.pt"), 10).module.state_dict()["stem.conv.weight"], old["stem.conv.weight"]
    )


class Trap:
    """Unpickling it creates a file."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.sprung,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "write",
    [
        lambda value, path: torch.save(value, path),
        lambda value, path: torch.save({"state_dict": value}, path),
        lambda value, path: torch.save(value, path, _use_new_zipfile_serialization=False),
        lambda value, path: path.write_bytes(pickle.dumps(value)),
    ],
    ids=["zip", "wrapped", "legacy", "bare pickle"],
)
def test_a_pickled_object_is_refused_and_never_executed(write: Callable[[Any, Path], Any], tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    write({"stem.conv.weight": Trap(sprung)}, tmp_path / "trap.pt")
    with pytest.raises(BackboneError, match="backbone.weights=.*trap.pt"):
        read_weights(tmp_path / "trap.pt")
    assert not sprung.exists()
    # the trap is a real one: an ordinary unpickler springs it
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists()


def test_a_whole_pickled_model_is_refused_with_the_way_to_save_it(tmp_path: Path) -> None:
    torch.save(GlyphNet(10), tmp_path / "whole.pt")
    with pytest.raises(BackboneError, match=r"torch\.save\(model\.state_dict\(\)"):
        read_weights(tmp_path / "whole.pt")


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.safetensors", b""), ("b.safetensors", b"not weights at all"), ("c.pt", b""), ("d.pt", b"not weights at all")],
)
def test_a_file_of_something_else_is_refused_in_one_line(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BackboneError, match=f"^backbone.weights=.*{name}: [^\n]*$"):
        read_weights(tmp_path / name)


def test_a_cut_off_file_is_refused(state: State, tmp_path: Path) -> None:
    for name, write in WRITERS.items():
        write(state, tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(BackboneError, match=name):
            read_weights(tmp_path / name)


@pytest.mark.parametrize("value", [torch.zeros(3), [torch.zeros(3)], {"a": 1}])
def test_tensors_without_names_are_no_state_dict(value: Any, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "odd.pt")
    with pytest.raises(BackboneError, match="no state dict"):
        read_weights(tmp_path / "odd.pt")


def test_a_missing_file_is_named_with_what_may_stand_there(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.pt", tmp_path):
        with pytest.raises(BackboneError) as refused:
            build_network(config(path), 10)
        assert f"backbone.weights={path}" in str(refused.value)
        assert "default" in str(refused.value)
        assert "none" in str(refused.value)
