"""Any network cut into blocks: every parameter once, in forward order, the head last, whatever the network is wrapped in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

import biotune
from biotune.backbones.registry import build_network
from biotune.config.sections import BackboneConfig
from biotune.errors import BackboneError
from biotune.schedule.block_parameters import block_parameters
from biotune.schedule.schedule import Schedule


def unit(width: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())


class Unet(nn.Module):
    """Sequences in plain lists, and the head not the last to be registered."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Conv2d(4, 2, 1)
        self.up = nn.ModuleList(unit(4) for _ in range(2))
        self.down = nn.ModuleList(unit(4) for _ in range(3))
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        x = scale * self.norm(self.first(x))
        for part in (*self.down, *self.up):
            x = part(x)
        out: Tensor = self.out(x)
        return out


class Text(nn.Module):
    """A transformer with a plain sequence of layers, and parameters of its own."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 8)
        self.places = nn.Parameter(torch.zeros(5, 8))
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), layers, enable_nested_tensor=False
        )
        self.norm = nn.LayerNorm(8)
        self.classifier = nn.Linear(8, 3)

    def forward(self, words: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.norm(self.encoder(self.words(words) + self.places)).mean(1))
        return logits


def covers(model: nn.Module, blocks: tuple[biotune.Block, ...]) -> bool:
    owned = block_parameters(model, blocks)  # raises where a parameter has no block, or two
    return all(block.parameters == sum(one.numel() for _, one in owned[block.name]) > 0 for block in blocks)


def table(blocks: tuple[biotune.Block, ...]) -> dict[str, str]:
    return {block.name: " ".join(block.modules) for block in blocks}


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "vit_b_16", "squeezenet1_0", "googlenet", "swin_t"])
@pytest.mark.parametrize("granularity", ["block", "layer"])
def test_every_parameter_of_torchvisions_networks_is_in_one_block(name: str, granularity: str) -> None:
    options = {"init_weights": False} if name == "googlenet" else {}
    model = models.get_model(name, weights=None, **options)
    blocks = biotune.blocks_of(model, granularity)
    assert covers(model, blocks)
    assert len(blocks) > 4 and blocks[-1].name == "head"


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2", "densenet121", "swin_t"])
@pytest.mark.parametrize("granularity", ["block", "layer"])
def test_known_networks_have_the_blocks_of_a_run(name: str, granularity: str) -> None:
    config = BackboneConfig(library="torchvision", name=name, weights="none", granularity=granularity)
    network = build_network(config, 3)
    assert biotune.blocks_of(models.get_model(name, weights=None), granularity) == tuple(network.blocks)


def test_a_head_of_ones_own_is_the_head() -> None:
    model = models.resnet18()
    model.fc = nn.Sequential(nn.Dropout(), nn.Linear(512, 9), nn.ReLU(), nn.Linear(9, 2))  # type: ignore[assignment]
    assert table(biotune.blocks_of(model))["head"] == "fc"
    assert table(biotune.blocks_of(model, head="fc.3")) == {
        "stem": "conv1 bn1",
        **{f"layer{number}": f"layer{number}" for number in range(1, 5)},
        "fc.1": "fc.1",
        "head": "fc.3",
    }


def test_detection_is_cut_within_its_backbone() -> None:
    model = models.detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    blocks = biotune.blocks_of(model)
    assert covers(model, blocks)
    assert table(blocks) == {
        "stem": "backbone.body.conv1 backbone.body.bn1",
        **{f"backbone.body.layer{number}": f"backbone.body.layer{number}" for number in range(1, 5)},
        "backbone.fpn": "backbone.fpn",
        "rpn": "rpn",
        "head": "roi_heads",
    }


def test_a_transformers_layers_are_blocks_and_many_are_put_together() -> None:
    model = Text(2)
    assert table(biotune.blocks_of(model)) == {
        "stem": "places words",
        "encoder.layers.0": "encoder.layers.0",
        "encoder.layers.1": "encoder.layers.1 norm",
        "head": "classifier",
    }
    many = Text(24)
    blocks = biotune.blocks_of(many)
    assert covers(many, blocks) and len(blocks) == 14
    assert blocks[1].modules == ("encoder.layers.0", "encoder.layers.1")
    finer = biotune.blocks_of(many, "layer")
    assert covers(many, finer) and len(finer) == 26


def test_the_order_is_that_of_execution_on_an_example() -> None:
    model = Unet().train()
    model.up[0].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    names = ["stem", "down.0", "down.1", "down.2", "up.0", "up.1", "head"]
    for example in (torch.zeros(1, 3, 8, 8), (torch.zeros(1, 3, 8, 8), 2.0), {"x": torch.zeros(1, 3, 8, 8), "scale": 2.0}):
        blocks = biotune.blocks_of(model, example=example)
        assert covers(model, blocks)
        assert [block.name for block in blocks] == names
        assert blocks[-1].modules == ("out",) and blocks[0].modules == ("first", "norm")
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training and not model.up[0].training and not any(part._forward_pre_hooks for part in model.modules())
    assert biotune.blocks_of(model)[-1].modules == ("norm",)  # without one, the last that is registered
    assert biotune.blocks_of(model, head="out")[-1].modules == ("out",)


def test_a_small_network_is_cut_into_its_layers() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3), nn.Linear(3, 2))
    assert table(biotune.blocks_of(model)) == {"stem": "0 1", "4": "4", "head": "5"}
    inside = nn.ModuleDict({"net": model})
    assert table(biotune.blocks_of(inside)) == {"stem": "net.0 net.1", "net.4": "net.4", "head": "net.5"}


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        (nn.ReLU(), {}, "has no parameters"),
        (nn.Linear(2, 2), {}, "single block"),
        (nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 2)), {}, "parameter 0.weight is lazy .* Call the network once"),
        (Text(2), {"head": "clasifier"}, "head='clasifier' is no module of the network. The last one is 'classifier'"),
        (Text(2), {"head": "encoder.layers.0.dropout"}, "has no parameters"),
        (Text(2), {"granularity": "stage"}, "granularity='stage': must be one of block, layer"),
        (Text(2), {"example": torch.zeros(1, 5)}, "cannot take the example"),
    ],
)
def test_what_cannot_be_cut_is_one_line(model: nn.Module, options: dict[str, Any], said: str) -> None:
    with pytest.raises(BackboneError, match=said) as raised:
        biotune.blocks_of(model, **options)
    assert "\n" not in str(raised.value)


def test_shared_parameters_must_lie_within_one_block() -> None:
    model = Text(2)
    model.decoder = nn.Linear(8, 11, bias=False)
    model.decoder.weight = model.words.weight
    with pytest.raises(BackboneError, match=r"words.weight and decoder.weight are one tensor, .* stem and decoder share"):
        biotune.blocks_of(model)
    blocks = (biotune.Block("both", ("words", "decoder")), biotune.Block("rest", ("places", "encoder", "norm", "classifier")))
    groups = Schedule(blocks, (1.0, 0.0)).apply(model, base_lr=0.1)
    assert [len(group["params"]) for group in groups] == [1]


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, lambda model: nn.DataParallel(torch.compile(model))])
def test_a_wrapped_model_is_cut_frozen_and_unfrozen_like_the_one_inside(wrap: Any) -> None:
    model = Text(2)
    blocks = biotune.blocks_of(model)
    wrapped = wrap(model)
    assert biotune.blocks_of(wrapped) == blocks
    schedule = Schedule(blocks, (0.0, 0.5, 1.0, 2.0), unfreezing="last_to_first")
    groups = schedule.apply(wrapped, base_lr=0.1)
    assert [(group["name"], group["lr"]) for group in groups] == [
        ("encoder.layers.0", 0.05),
        ("encoder.layers.1", 0.1),
        ("head", 0.2),
    ]
    wrapped.train()
    assert not model.words.training and model.classifier.training
    schedule.unfreeze(wrapped, 0, 3)
    wrapped.train()
    assert not model.encoder.layers[1].training
    assert [name for name, one in model.named_parameters() if one.requires_grad] == ["classifier.weight", "classifier.bias"]
    schedule.unfreeze(wrapped, 2, 3)
    assert model.encoder.layers[0].linear1.weight.requires_grad and not model.words.weight.requires_grad
