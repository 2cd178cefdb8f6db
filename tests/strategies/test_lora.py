"""LoRA's effects: what moves, what does not, and that merging changes nothing but the form."""

import pytest
import torch
from torch import nn

pytest.importorskip("peft")

from biotune.backbones.registry import find_architecture
from biotune.config.sections import BackboneConfig
from biotune.strategies.lora import adaptable


def train(toy: nn.Sequential, hooks, images, steps: int = 5) -> None:
    optimizer = torch.optim.Adam(hooks.groups)
    for _ in range(steps):
        toy.train()
        optimizer.zero_grad()
        nn.functional.cross_entropy(toy(images), torch.tensor([0, 1] * 4)).backward()
        optimizer.step()


def test_adapters_and_the_head_learn_and_the_base_stays_bit_identical(toy, stage, images) -> None:
    before = {name: value.clone() for name, value in toy.state_dict().items()}
    _, hooks = stage("lora", rank=2, scale=2.0)
    train(toy, hooks, images)
    adapters = {name: p for name, p in toy.named_parameters() if ".lora_" in name}
    assert {name.split(".")[0] for name in adapters} == {"0", "1"}
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in adapters.values())
    for name, value in toy.state_dict().items():
        plain = name.replace("base_layer.", "")
        if plain in before and not plain.startswith("5."):
            assert torch.equal(value, before[plain]), plain  # running statistics too
    assert not torch.equal(toy[5].weight, before["5.weight"])


def test_merged_the_network_has_its_own_layers_and_the_same_outputs(toy, stage, images) -> None:
    names = set(toy.state_dict())
    _, hooks = stage("lora", rank=2, scale=2.0)
    train(toy, hooks, images)
    toy.eval()
    with torch.no_grad():
        adapted = toy(images)
        hooks.fold_in()
        merged = toy(images)
    assert set(toy.state_dict()) == names
    assert type(toy[0]) is nn.Conv2d
    torch.testing.assert_close(merged, adapted, rtol=1e-5, atol=1e-6)


def test_undone_the_network_has_its_own_layers_and_weights(toy, stage, images) -> None:
    before = toy[0].weight.detach().clone()
    _, hooks = stage("lora", rank=2, scale=2.0)
    train(toy, hooks, images)
    hooks.undo()
    hooks.undo()
    assert type(toy[0]) is nn.Conv2d
    assert torch.equal(toy[0].weight, before)


def test_layers_whose_weights_go_to_a_function_and_grouped_ones_take_no_adapter() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.called, self.handed, self.grouped = nn.Linear(4, 4), nn.Linear(4, 4), nn.Conv1d(4, 4, 1, groups=2)
            self.depthwise, self.head = nn.Conv2d(4, 4, 1, groups=4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = nn.functional.linear(self.called(x), self.handed.weight)
            return self.head(self.depthwise(x[..., None, None]).flatten(1))

    assert adaptable(Odd(), torch.rand(2, 4), ("head",)) == ["called"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit_b_16", "swin_t", "mobilenet_v3_large"])
def test_attention_projections_of_real_networks_take_no_adapter(name: str) -> None:
    network = find_architecture(BackboneConfig("torchvision", name, "none"))
    module = network.build()
    found = adaptable(module, torch.rand(1, 3, 224, 224), network.blocks[-1].modules)
    assert found and not any(path.endswith(("out_proj", ".qkv")) for path in found)
