"""Every named network as a chain of its blocks: one step of training, and the same outputs cut anywhere."""

import pytest
import torch

from biotune.backbones.chain import link
from biotune.backbones.registry import LIBRARIES, build_network
from biotune.backbones.torchvision import ARCHITECTURES
from biotune.config.sections import BackboneConfig
from biotune.schedule.param_groups import param_groups

NAMED = [("torchvision", name) for name in ARCHITECTURES] + [("lite0", "efficientnet_lite0"), ("biotune", "glyphnet")]


HEAVY = ("vit_b_16", "vgg19")


@pytest.fixture(params=[pytest.param(row, marks=[pytest.mark.slow] if row[1] in HEAVY else [], id=row[1]) for row in NAMED])
def network(request):
    library, name = request.param
    if library == "lite0":
        pytest.importorskip("timm")
    if library == "torchvision" and name in ("resnet34", "resnet101"):
        pytest.skip("the same code as resnet18 and resnet50")
    return build_network(BackboneConfig(library, name, "none"), 5)


def images(network, count=2):
    name = type(network.module).__name__
    size = {"Inception3": 75, "VisionTransformer": 224, "GlyphNet": 16}.get(name, 64)
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_every_named_network_trains_one_step_freezes_and_is_a_chain_of_its_blocks(network):
    module, names = network.module, [block.name for block in network.blocks]
    assert network.steps is not None
    frozen = {names[0], names[-2]}
    weights = tuple(0.0 if name in frozen else 1.0 for name in names)
    optimizer = torch.optim.SGD(param_groups(module, network.blocks, weights, 1e-2))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    inputs = images(network)
    module.train()
    torch.nn.functional.cross_entropy(module(inputs), torch.tensor([0, 3])).backward()
    optimizer.step()
    moved = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    of_block = {block.name: block.modules for block in network.blocks}
    for block, paths in of_block.items():
        touched = [name for name in moved if any(name == path or name.startswith(path + ".") for path in paths)]
        assert bool(touched) == (block not in frozen), (block, touched[:3])

    module.eval()
    with torch.inference_mode():
        chain = link(module, network.blocks, network.steps)
        torch.testing.assert_close(chain.forward(inputs), module(inputs), atol=1e-5, rtol=1e-5)
        # and in two parts, cut before any block
        for entry in chain.entries:
            parts = chain.forward(chain.forward(inputs, 0, entry), entry)
            torch.testing.assert_close(parts, chain.forward(inputs), atol=0, rtol=0)


@pytest.mark.parametrize(
    "name", ["resnet18", "efficientnet_b0", "swin_t", pytest.param("vit_b_16", marks=pytest.mark.slow), "densenet121", "vgg19"]
)
def test_finer_blocks_are_a_chain_where_units_follow_one_another(name):
    network = build_network(BackboneConfig("torchvision", name, "none", granularity="layer"), 5)
    if name in ("densenet121", "vgg19"):  # dense layers take what all before them put out; VGG's steps name its own blocks
        assert network.steps is None
        return
    assert len(network.blocks) > 7
    chain = link(network.module, network.blocks, network.steps)
    assert len(chain.entries) == len(network.blocks)
    inputs = images(network)
    network.module.eval()
    with torch.inference_mode():
        torch.testing.assert_close(chain.forward(inputs), network.module(inputs), atol=1e-5, rtol=1e-5)


def test_layers_that_cut_through_a_unit_are_no_chain():
    assert build_network(BackboneConfig("biotune", "glyphnet", "none", granularity="layer"), 5).steps is None


@pytest.mark.parametrize(
    ("library", "name", "shape"),
    [
        ("torchvision", "resnet18", (512,)),  # pooled, not the maps before the pool
        ("torchvision", "densenet121", (1024,)),
        ("torchvision", "inception_v3", (2048, 1, 1)),  # before the dropout, which draws anew every time
        ("torchvision", "efficientnet_b0", (1280,)),
        ("torchvision", "vit_b_16", (197, 768)),
        ("biotune", "glyphnet", (80,)),
    ],
)
def test_what_comes_before_a_heads_first_parameter_is_over_when_it_begins(library, name, shape):
    network = build_network(BackboneConfig(library, name, "none"), 5)
    chain = link(network.module, network.blocks, network.steps)
    network.module.eval()
    with torch.inference_mode():
        features = chain.forward(images(network), 0, chain.entries[-1])
    assert tuple(features[0].shape) == shape


def test_weights_saved_after_the_auxiliary_head_was_dropped_load_again(tmp_path):
    from safetensors.torch import save_file

    first = build_network(BackboneConfig("torchvision", "inception_v3", "none"), 5)
    with torch.no_grad():
        first.module.Mixed_5b.branch1x1.conv.weight.fill_(0.125)
    save_file({name: value.contiguous() for name, value in first.module.state_dict().items()}, tmp_path / "w.safetensors")
    again = build_network(BackboneConfig("torchvision", "inception_v3", str(tmp_path / "w.safetensors")), 3)
    assert (again.module.Mixed_5b.branch1x1.conv.weight == 0.125).all()


def test_a_transition_is_one_layer_and_a_bare_norm_joins_the_unit_before_it():
    network = build_network(BackboneConfig("torchvision", "densenet121", "none", granularity="layer"), 5)
    modules = [block.modules for block in network.blocks]
    assert ("features.transition1",) in modules
    assert ("features.denseblock4.denselayer16", "features.norm5") in modules
    assert len(modules) == 1 + 6 + 1 + 12 + 1 + 24 + 1 + 16 + 1


def test_every_library_lists_names_it_can_find():
    assert "resnet50" in LIBRARIES["torchvision"]().names()
    assert LIBRARIES["biotune"]().names() == ["glyphnet"]
