"""A schedule on a model: what moves, how far, and what stays as it was, to the bit."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.ops import Conv2dNormActivation, FrozenBatchNorm2d, StochasticDepth

import biotune
from biotune.backbones import torchvision
from biotune.backbones.glyphnet import ARCHITECTURES, GlyphNet
from biotune.errors import ScheduleError
from biotune.schedule.block import Block
from biotune.schedule.freezing import has_running_statistics, is_normalisation
from biotune.schedule.genotype import decode
from biotune.schedule.param_groups import param_groups, prove_coverage
from biotune.schedule.schedule import Schedule
from biotune.training.finetune import finetune
from biotune.training.optimizer import build_optimizer
from biotune.trial import Trial

LR = 3e-3  # the base learning rate of trials

BLOCKS = ARCHITECTURES["glyphnet"].blocks
RESNET = torchvision.ARCHITECTURES["resnet18"].blocks
MIXED = (0.0, 2.0, 0.0, 0.5, 0.0, 10.0)  # stem, layer2 and layer4 frozen
FROZEN, TRAINED = ("stem", "layer2", "layer4"), ("layer1", "layer3", "head")


def schedule(weights: Sequence[float], blocks: Sequence[Block] = BLOCKS) -> Schedule:
    return Schedule(tuple(blocks), tuple(weights))


def loss(model: nn.Module, side: int = 16, batch: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    dtype = next(model.parameters()).dtype
    images = torch.randn(batch, 3, side, side, generator=generator, dtype=dtype)
    return nn.functional.cross_entropy(model(images), torch.arange(batch) % 3)


def snapshot(model: nn.Module, prefixes: Sequence[str] = ("",)) -> dict[str, Tensor]:
    state = model.state_dict()
    return {name: value.clone() for name, value in state.items() if name.startswith(tuple(prefixes))}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("row", [0, 2, 7, 9, 10, 12])
def test_update_sizes_follow_the_weights_after_one_sgd_step(row: int, vectors: dict[str, Any]) -> None:
    case, base_lr = vectors["decode"][row], 1e-3
    model = GlyphNet(3).double()
    optimizer = torch.optim.SGD(param_groups(model, BLOCKS, decode(case["genotype"], BLOCKS).lr_weights, base_lr))
    before = {name: value.clone() for name, value in model.named_parameters()}
    loss(model.train()).backward()
    optimizer.step()
    for block, weight in zip(BLOCKS, case["lr_weights"], strict=True):
        own = {name: p for name, p in model.named_parameters() if name.startswith(f"{block.name}.")}
        moved = torch.cat([(p - before[name]).flatten() for name, p in own.items()]).norm().item()
        if weight == 0:
            assert moved == 0
            assert all(p.grad is None for p in own.values())
        else:
            slope = torch.cat([p.grad.flatten() for p in own.values()]).norm().item()
            assert moved / slope == pytest.approx(weight * base_lr, rel=1e-8)


@pytest.mark.parametrize(
    "training", [{}, {"optimizer": "sgd", "weight_decay": 0.1}, {"optimizer": "adamw", "weight_decay": 0.1}]
)
def test_frozen_blocks_are_bit_identical_after_epochs_of_fine_tuning(
    training: dict[str, Any], make_workspace: Callable[..., Any]
) -> None:
    workspace = make_workspace(**training)
    model = workspace.network.module
    start = {name: value.clone() for name, value in workspace.initial.items()}
    result = finetune(Trial(schedule(MIXED), None, 1, 3, LR), workspace).result
    assert result.status == "ok"
    end = model.state_dict()
    moved = {name for name, value in end.items() if not torch.equal(value, start[name])}
    assert not any(name.startswith(FROZEN) for name in moved)
    expected = {name for name in start if name.startswith(TRAINED)}
    assert moved == expected  # buffers of trained blocks too: their running statistics and batch counters
    assert all(p.grad is None for name, p in model.named_parameters() if name.startswith(FROZEN))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_frozen_blocks_hold_no_optimizer_state(optimizer: str, make_workspace: Callable[..., Any]) -> None:
    workspace = make_workspace(optimizer=optimizer)
    model = workspace.network.module
    groups = param_groups(model, BLOCKS, MIXED, 1e-3)
    built = build_optimizer(groups, workspace.training, workspace.device)
    model.train()
    for _ in range(2):
        loss(model).backward()
        built.step()
    held = {id(p) for p in built.state}
    for name, p in model.named_parameters():
        assert (id(p) in held) == name.startswith(TRAINED), name


def test_frozen_parameters_get_no_gradient_and_selected_ones_do() -> None:
    model = GlyphNet(3)
    param_groups(model, BLOCKS, MIXED, 1e-3)
    loss(model.train()).backward()
    for name, p in model.named_parameters():
        assert (p.grad is not None) == name.startswith(TRAINED), name


def test_momentum_and_weight_decay_never_move_a_frozen_block_even_with_all_parameters_in_the_optimizer() -> None:
    model = GlyphNet(3).train()
    loss(model).backward()  # stale gradients, from before the freezing
    param_groups(model, BLOCKS, MIXED, 1e-3)
    assert all(p.grad is None for p in model.parameters())
    before = snapshot(model, FROZEN)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(3):
        loss(model.train()).backward()
        optimizer.step()
    assert same(snapshot(model, FROZEN), before)


def modes(model: nn.Module, path: str) -> set[bool]:
    return {module.training for module in model.get_submodule(path).modules()}


def test_frozen_blocks_stay_in_eval_mode_through_every_later_train_and_eval() -> None:
    model = GlyphNet(3).train()
    param_groups(model, BLOCKS, MIXED, 1e-3)
    for change in (lambda: None, model.train, model.eval, model.train, lambda: model.train(True)):
        change()
        assert all(modes(model, name) == {False} for name in FROZEN)
    assert model.training
    assert all(modes(model, name) == {True} for name in TRAINED)
    model.eval()
    assert {module.training for module in model.modules()} == {False}


def test_a_copy_of_the_model_keeps_its_own_frozen_blocks_in_eval_mode() -> None:
    model = GlyphNet(3)
    param_groups(model, BLOCKS, MIXED, 1e-3)
    twin = copy.deepcopy(model)
    model.eval()
    twin.train()
    assert all(modes(twin, name) == {False} for name in FROZEN)
    assert all(modes(twin, name) == {True} for name in TRAINED)
    # the copy's hold must not reach back to the original
    assert {module.training for module in model.modules()} == {False}
    before = snapshot(twin, FROZEN)
    loss(twin)
    assert same(snapshot(twin, FROZEN), before)
    # and a schedule on the copy leaves the original's alone
    param_groups(twin, BLOCKS, (1.0,) * 6, 1e-3)
    twin.train()
    model.train()
    assert all(modes(twin, name) == {True} for name in FROZEN)
    assert all(modes(model, name) == {False} for name in FROZEN)


@pytest.mark.parametrize("name", ["efficientnet_b0", "convnext_tiny"])
def test_dropout_and_stochastic_depth_of_frozen_blocks_are_off(name: str) -> None:
    row = torchvision.ARCHITECTURES[name]
    torch.manual_seed(0)
    module = row.build()
    assert any(isinstance(inner, StochasticDepth) for inner in module.features.modules())
    images = torch.randn(2, 3, 32, 32)
    weights = (0.0,) * (len(row.blocks) - 1) + (1.0,)
    param_groups(module, row.blocks, weights, 1e-3)
    module.train()
    before = snapshot(module, ("features",))
    with torch.no_grad():
        first, second = module.features(images), module.features(images)
        assert torch.equal(first, second)
        assert same(snapshot(module, ("features",)), before)
        # trained again, the same blocks are random
        param_groups(module, row.blocks, (1.0,) * len(row.blocks), 1e-3)
        module.train()
        assert not torch.equal(module.features(images), module.features(images))


def test_dropout_of_a_frozen_head_is_off_too() -> None:
    row = torchvision.ARCHITECTURES["efficientnet_b0"]
    module = row.build()
    param_groups(module, row.blocks, (1.0,) * (len(row.blocks) - 1) + (0.0,), 1e-3)
    module.train()
    features = torch.randn(3, 1280)
    assert torch.equal(module.classifier(features), module.classifier(features))


def test_another_schedule_undoes_the_one_before() -> None:
    model = GlyphNet(3)
    param_groups(model, BLOCKS, MIXED, 1e-3)
    groups = param_groups(model, BLOCKS, (1.0,) * 6, 1e-3)
    prove_coverage(model, torch.optim.SGD(groups))
    model.train()
    assert all(p.requires_grad for p in model.parameters())
    assert {module.training for module in model.modules()} == {True}
    before = snapshot(model)
    loss(model).backward()
    torch.optim.SGD(groups, momentum=0.9).step()
    after = snapshot(model)
    assert all(not torch.equal(value, before[name]) for name, value in after.items())
    # nothing is left of the first on the modules themselves
    assert not any("train" in vars(module) for module in model.modules())


def test_a_schedule_over_finer_blocks_undoes_a_coarser_one() -> None:
    layers = ARCHITECTURES["glyphnet"].layers
    model = GlyphNet(3)
    param_groups(model, BLOCKS, (0.0,) * 5 + (1.0,), 1e-3)
    param_groups(model, layers, (1.0,) * 3 + (0.0,) + (1.0,) * 6, 1e-3)
    model.train()
    frozen = {name for name, module in model.named_modules() if not module.training}
    assert frozen == {"layer2.conv1", "layer2.bn1"}


def test_frozen_norm_train_updates_the_statistics_of_frozen_layers_and_nothing_else(make_workspace: Callable[..., Any]) -> None:
    workspace = make_workspace(frozen_norm="train")
    start = {name: value.clone() for name, value in workspace.initial.items()}
    finetune(Trial(schedule(MIXED), None, 1, 2, LR), workspace)
    for name, value in workspace.network.module.state_dict().items():
        if name.startswith(FROZEN):
            statistic = "running" in name or "batches" in name
            assert torch.equal(value, start[name]) != statistic, name


def test_frozen_norm_train_still_keeps_frozen_dropout_off_and_obeys_eval() -> None:
    row = torchvision.ARCHITECTURES["efficientnet_b0"]
    module = row.build()
    param_groups(module, row.blocks, (0.0,) * (len(row.blocks) - 1) + (1.0,), 1e-3, frozen_norm="train")
    module.train()
    training = {type(inner) for stage in module.features for inner in stage.modules() if inner.training}
    assert training == {nn.BatchNorm2d}
    module.eval()
    assert not any(inner.training for inner in module.modules())


def test_one_group_a_trained_block_in_forward_order_with_its_rate(vectors: dict[str, Any]) -> None:
    for case in vectors["decode"]:
        groups = param_groups(GlyphNet(3), BLOCKS, decode(case["genotype"], BLOCKS).lr_weights, 2e-3)
        expected = [(block.name, weight) for block, weight in zip(BLOCKS, case["lr_weights"], strict=True) if weight]
        assert [group["name"] for group in groups] == [name for name, _ in expected]
        assert [group["lr"] for group in groups] == pytest.approx([2e-3 * weight for _, weight in expected], rel=1e-9)


def test_groups_hold_their_block_in_the_same_order_each_time() -> None:
    model = GlyphNet(3)
    name_of = {id(p): name for name, p in model.named_parameters()}
    shown = []
    for _ in range(3):
        groups = param_groups(model, BLOCKS, (1.0,) * 6, 1e-3)
        shown.append([(group["name"], [name_of[id(p)] for p in group["params"]]) for group in groups])
    assert shown[0] == shown[1] == shown[2]
    assert [name for _, names in shown[0] for name in names] == [name for name, _ in model.named_parameters()]
    assert all(entry.startswith(f"{name}.") for name, names in shown[0] for entry in names)


def test_coverage_is_proved_for_a_schedule_and_a_flaw_is_named() -> None:
    model = GlyphNet(3)
    groups = param_groups(model, BLOCKS, MIXED, 1e-3)
    prove_coverage(model, torch.optim.SGD(groups))
    with pytest.raises(ScheduleError, match=r"layer3\.conv1\.weight is trainable but in no"):
        prove_coverage(model, torch.optim.SGD([groups[0], {"params": groups[1]["params"][1:]}, groups[2]], lr=0.1))
    with pytest.raises(ScheduleError, match="two optimizer groups"):
        doubled = torch.optim.SGD(groups, lr=0.1)
        doubled.param_groups[0]["params"].append(model.head.weight)
        prove_coverage(model, doubled)
    groups = param_groups(model, BLOCKS, MIXED, 1e-3)
    with pytest.raises(ScheduleError, match="frozen parameter"):
        prove_coverage(model, torch.optim.SGD([*groups, {"params": [model.stem.conv.weight]}], lr=0.1))


@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate parameters")
def test_a_parameter_twice_in_one_group_is_caught() -> None:
    model = GlyphNet(3)
    groups = param_groups(model, BLOCKS, MIXED, 1e-3)
    groups[0]["params"].append(groups[0]["params"][0])
    with pytest.raises(ScheduleError, match="two optimizer groups"):
        prove_coverage(model, torch.optim.SGD(groups))


def test_a_saved_schedule_works_in_the_users_own_training(tmp_path: Path) -> None:
    """The lines of the documentation, on a torchvision network that biotune did not build."""
    path = tmp_path / "best_schedule.yaml"
    path.write_text(
        "format: 1\nbase_lr: 0.01\nblocks:\n"
        "  stem: {modules: [conv1, bn1], frozen: true, lr_weight: 0.0}\n"
        "  layer1: {modules: [layer1], frozen: true, lr_weight: 0.0}\n"
        "  layer2: {modules: [layer2], frozen: false, lr_weight: 0.5}\n"
        "  layer3: {modules: [layer3], frozen: true, lr_weight: 0.0}\n"
        "  layer4: {modules: [layer4], frozen: false, lr_weight: 2.0}\n"
        "  head: {modules: [fc], frozen: false, lr_weight: 10.0}\n"
    )
    model = models.resnet18(weights=None, num_classes=3)
    groups = biotune.load_schedule(path).apply(model, base_lr=1e-3)
    optimizer = torch.optim.AdamW(groups)
    assert [(group["name"], group["lr"]) for group in optimizer.param_groups] == [
        ("layer2", pytest.approx(5e-4)),
        ("layer4", pytest.approx(2e-3)),
        ("head", pytest.approx(1e-2)),
    ]
    frozen = ("conv1", "bn1", "layer1", "layer3")
    before = snapshot(model)
    for _ in range(2):
        model.train()
        optimizer.zero_grad()
        loss(model, side=32, batch=4).backward()
        optimizer.step()
        model.eval()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if not name.startswith(frozen)}
    # without a rate of one's own, the file's is taken
    assert biotune.load_schedule(path).apply(model)[0]["lr"] == pytest.approx(0.005)


def test_blocks_of_a_saved_schedule_join_by_the_epoch_in_the_users_own_training(tmp_path: Path) -> None:
    path = tmp_path / "best_schedule.yaml"
    path.write_text(
        "format: 1\nbase_lr: 0.01\nunfreezing: last_to_first\nblocks:\n"
        "  stem: {modules: [conv1, bn1], frozen: true, lr_weight: 0.0}\n"
        "  body: {modules: [layer1, layer2, layer3, layer4], frozen: false, lr_weight: 0.5}\n"
        "  head: {modules: [fc], frozen: false, lr_weight: 10.0}\n"
    )
    model = models.resnet18(weights=None, num_classes=3)
    schedule = biotune.load_schedule(path)
    optimizer = torch.optim.AdamW(schedule.apply(model))
    moved = []
    for epoch in range(3):
        before = snapshot(model)
        schedule.unfreeze(model, epoch, epochs=3)
        model.train()
        optimizer.zero_grad()
        loss(model, side=32, batch=4).backward()
        optimizer.step()
        changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
        moved.append({name.split(".")[0] for name in changed})
    body = {"layer1", "layer2", "layer3", "layer4"}
    assert moved == [{"fc"}, body | {"fc"}, body | {"fc"}]


def test_without_any_base_rate_apply_says_what_it_needs() -> None:
    with pytest.raises(ScheduleError, match="base_lr"):
        schedule(MIXED).apply(GlyphNet(3))


def test_a_network_that_does_not_fit_is_refused_with_the_block_and_left_as_it_was() -> None:
    model = models.resnet18(weights=None)
    with pytest.raises(ScheduleError, match="block stem: the network has no module 'stem'"):
        schedule((0.0,) * 5 + (1.0,)).apply(model, base_lr=1e-3)
    model.fc = nn.Sequential(model.fc, nn.Linear(1000, 2))
    model.extra = nn.Linear(2, 2)
    with pytest.raises(ScheduleError, match=r"extra\.weight belongs to no block"):
        schedule((0.0,) * 5 + (1.0,), RESNET).apply(model, base_lr=1e-3)
    doubled = (*RESNET[:4], Block("layer4", ("layer4", "layer3.1")), RESNET[5])
    del model.extra
    with pytest.raises(ScheduleError, match=r"layer3\.1\.conv1\.weight belongs to both layer3 and layer4"):
        schedule((0.0,) * 5 + (1.0,), doubled).apply(model, base_lr=1e-3)
    assert all(p.requires_grad for p in model.parameters())
    assert not any("train" in vars(module) for module in model.modules())


def test_saving_the_weights_is_not_disturbed(tmp_path: Path) -> None:
    model = GlyphNet(3)
    plain = snapshot(model)
    param_groups(model, BLOCKS, MIXED, 1e-3)
    assert same(snapshot(model), plain)
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other = GlyphNet(3)
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert same(snapshot(other), plain)
    # a whole pickled model comes back as it was, held blocks included
    torch.save(model, tmp_path / "whole.pt")
    whole = torch.load(tmp_path / "whole.pt", weights_only=False)
    whole.train()
    assert all(modes(whole, name) == {False} for name in FROZEN)
    assert all(modes(whole, name) == {True} for name in TRAINED)


def test_bare_parameters_are_frozen_and_trained_like_modules() -> None:
    row = torchvision.ARCHITECTURES["vit_b_16"]
    with torch.device("meta"):
        module = row.build()
    param_groups(module, row.blocks, (0.0, *(1.0,) * 5), 1e-3)
    frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
    assert frozen == {"class_token", "encoder.pos_embedding", "conv_proj.weight", "conv_proj.bias"}


class PlainNorm(nn.Module):
    """A norm of a user's own, with a weight and running statistics and no type of torch's."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("running_mean", torch.zeros(2))


def test_one_rule_tells_normalisation_layers_by_type_or_by_name() -> None:
    own = type("Scale", (nn.BatchNorm1d,), {})(2)
    norms = [nn.BatchNorm2d(2), nn.InstanceNorm2d(2), nn.GroupNorm(1, 2), nn.LayerNorm(2), nn.RMSNorm(2), own, PlainNorm()]
    norms += [FrozenBatchNorm2d(2), models.convnext.LayerNorm2d(2)]
    assert [module for module in norms if not is_normalisation(module)] == []
    # what holds a norm among other layers is none itself, nor is what is named for having none
    free = type("NormFreeBlock", (nn.Sequential,), {})(nn.Conv2d(2, 2, 1), nn.Dropout())
    assert [module for module in (Conv2dNormActivation(3, 2), free, nn.Conv2d(2, 2, 1)) if is_normalisation(module)] == []


def test_only_layers_with_running_statistics_have_a_state_that_moves() -> None:
    moving = [nn.BatchNorm2d(2), nn.InstanceNorm2d(2, track_running_stats=True), PlainNorm()]
    still = [nn.BatchNorm2d(2, track_running_stats=False), nn.InstanceNorm2d(2), nn.LayerNorm(2), nn.Conv2d(2, 2, 1)]
    assert [has_running_statistics(module) for module in moving + still] == [True] * 3 + [False] * 4
