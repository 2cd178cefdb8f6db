"""Plugins: networks and datasets of the user's own are trained, and modules that cannot be imported are reported."""

import sys
import textwrap

import pytest

from biotune.backbones.network import Architecture, Preprocessing
from biotune.backbones.registry import register_backbone
from biotune.cli import main
from biotune.config.plugins import load_plugins
from biotune.errors import BackboneError, ConfigError, DataError
from biotune.schedule.block import Block

MODULE = """
import hashlib

import numpy as np
import torch
from PIL import Image
from torch import nn

import biotune


def birds(config):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(2), 30)
    images = (rng.random((60, 16, 16, 3)) * 100 + 100 * labels[:, None, None, None]).astype(np.uint8)
    return biotune.Source(
        name="birds",
        classes=("robin", "wren"),
        labels=labels,
        splits=np.full(60, "", dtype="<U5"),
        names=tuple(map(str, range(60))),
        read=lambda index: Image.fromarray(images[index]),
        fingerprint=hashlib.sha256(images.tobytes()).hexdigest(),
        on_disk=False,
    )


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.body(x))


biotune.register_dataset("birds", birds)
biotune.register_backbone(
    biotune.Architecture(
        name="tiny",
        library="plugin",
        build=Tiny,
        blocks=(biotune.Block("body", ("body",)), biotune.Block("head", ("head",))),
        head="head",
        preprocessing=lambda weights: biotune.Preprocessing(16, 16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        pretrained=lambda weights: Tiny().state_dict(),
    )
)
biotune.register_strategy(
    "body_only", lambda blocks: biotune.Schedule(tuple(blocks), tuple(float(block.name == "body") for block in blocks))
)
"""


@pytest.fixture
def users_folder(tmp_path, monkeypatch):
    """A folder as a user has it: a module, and YAMLs in a config folder."""
    (tmp_path / "my_birds.py").write_text(textwrap.dedent(MODULE))
    for file, text in {
        "dataset/birds.yaml": "# Two birds.\nloader: birds\nname: birds\n",
        "backbone/tiny.yaml": "# A tiny network.\nlibrary: plugin\nname: tiny\n",
        "strategy/body_only.yaml": "# Everything but the head.\nname: body_only\n",
    }.items():
        (tmp_path / "conf" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "conf" / file).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def test_network_dataset_and_strategy_of_a_users_module_run_without_touching_the_package(users_folder, capsys, monkeypatch):
    for recipe in ("run", "train"):  # pages have tests of their own
        monkeypatch.setattr(f"biotune.recipes.{recipe}.write_report", lambda run: None)
    common = ["--config-dir=conf", "plugins=[my_birds]", "dataset=birds", "backbone=tiny", "backbone.weights=none"]
    assert main(["run", *common, "experiment=smoke", "dataset.max_classes=2", "hydra.run.dir=run"]) == 0
    text = (users_folder / "run" / "best_schedule.yaml").read_text()
    assert "backbone: tiny" in text
    assert "dataset: birds" in text
    train = ["executor=in_process", "strategy=body_only", "training.epochs=2", "test.seeds=[1]", "hydra.run.dir=train"]
    assert main(["train", *common, *train]) == 0
    trained = (users_folder / "train" / "best_schedule.yaml").read_text()
    assert "head: {modules: [head], frozen: true" in trained
    assert "body: {modules: [body], frozen: false" in trained
    assert main(["export", "train", "--format", "torchscript", "--plugins", "my_birds"]) == 0
    assert (users_folder / "train/export/torchscript/model.pt").is_file()
    capsys.readouterr()
    assert main(["export", "train", "--format", "safetensors", "--plugins", "my_birds"]) == 2
    assert "--format safetensors: tiny is a network of a plugin, which neither" in capsys.readouterr().err
    assert main(["list", "datasets", "--config-dir=conf"]) == 0
    assert "Two birds." in capsys.readouterr().out


def test_a_missing_module_is_one_clear_line(capsys):
    assert main(["run", "plugins=[no_such_module_here]"]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("biotune: plugins=no_such_module_here: cannot be imported")
    assert "\n" not in error


def test_a_module_that_raises_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken_plugin.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(ConfigError, match="plugins=broken_plugin: cannot be imported .ZeroDivisionError"):
        load_plugins(["broken_plugin"])


def test_blocks_that_do_not_cover_a_registered_network_are_refused():
    from torch import nn

    def build():
        module = nn.Sequential()
        module.body = nn.Linear(2, 2)
        module.head = nn.Linear(2, 2)
        return module

    row = Architecture(
        name="holey",
        library="plugin",
        build=build,
        blocks=(Block("head", ("head",)),),
        head="head",
        preprocessing=lambda weights: Preprocessing(8, 8, (0, 0, 0), (1, 1, 1)),
        pretrained=lambda weights: {},
    )
    with pytest.raises(BackboneError, match=r"parameter body.weight belongs to no block"):
        register_backbone(row)


def test_a_taken_name_is_refused():
    from biotune import register_dataset, register_strategy

    with pytest.raises(DataError, match="digits: is registered already"):
        register_dataset("digits", lambda config: None)
    with pytest.raises(ConfigError, match="full: is registered already"):
        register_strategy("full", lambda blocks: None)
