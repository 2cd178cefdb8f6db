"""Tests of the pre-training script."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from biotune.backbones.glyphnet import GlyphNet

SCRIPT = Path(__file__).parents[2] / "scripts" / "pretrain_glyphnet.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pretrain_glyphnet", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_font_renders_every_class(script: ModuleType) -> None:
    rng = np.random.default_rng(0)
    for font_file in script.FONT_FILES:
        for character in script.CLASSES:
            glyph = script.render_glyph(character, font_file, rng)
            assert glyph.shape == (16, 16) and glyph.dtype == np.uint8
            assert glyph.max() > 60 and glyph.mean() < 200


def test_classes_look_different(script: ModuleType) -> None:
    for font_file in script.FONT_FILES:
        drawn = {script.draw_large(character, font_file, 0).tobytes() for character in script.CLASSES}
        assert len(drawn) == len(script.CLASSES)


def test_smoke_run_is_reproducible(script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / "new" / name for name in ("a.safetensors", "b.safetensors")]
    for path in paths:
        script.main(["--out", str(path), "--preset", "smoke", "--seed", "3"])
    first, second = (load_file(path) for path in paths)
    assert all(torch.equal(first[name], second[name]) for name in first)
    GlyphNet(36).load_state_dict(first)
    with safe_open(paths[0], "pt") as file:
        metadata = file.metadata()
    assert metadata["classes"] == script.CLASSES and metadata["seed"] == "3"
    assert "on 36 held-out glyphs" in capsys.readouterr().out
