"""Tests of the experiment with known answers."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from biotune.backbones.glyphnet import GlyphNet

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        spec = importlib.util.spec_from_file_location("known_answers", SCRIPTS / "known_answers.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "known_answers", module)
        spec.loader.exec_module(module)
        yield module


def images(root: Path) -> dict[str, set[str]]:
    """File names by split."""
    return {split.name: {path.stem for path in split.glob("*/*.png")} for split in root.iterdir()}


def test_no_image_is_in_two_parts(script: ModuleType, tmp_path: Path) -> None:
    source = images(script.write_images(tmp_path / "source", "none", 0, script.SOURCE))
    target = images(script.write_images(tmp_path / "target", "noise", 3, script.TARGET))
    assert {split: len(names) for split, names in source.items()} == {"train": 800, "val": 100, "test": 100}
    assert {split: len(names) for split, names in target.items()} == {"train": 100, "val": 100, "test": 597}
    assert len(set().union(*source.values(), *target.values())) == 1797  # all there are, none twice


def test_permuted_labels_move_every_class_as_a_whole(script: ModuleType, tmp_path: Path) -> None:
    plain = script.write_images(tmp_path / "plain", "none", 5, script.TARGET)
    moved = script.write_images(tmp_path / "moved", "permuted_labels", 5, script.TARGET)

    def classes(root: Path) -> dict[str, str]:
        return {path.name: path.parent.name for path in root.glob("*/*/*.png")}

    old, new = classes(plain), classes(moved)
    renamed = {(old[name], new[name]) for name in old}
    assert len(renamed) == 10 and all(before != after for before, after in renamed)


def test_inverted_images_are_inverted(script: ModuleType, tmp_path: Path) -> None:
    plain = script.write_images(tmp_path / "plain", "none", 5, script.TARGET)
    turned = script.write_images(tmp_path / "turned", "invert", 5, script.TARGET)
    one = next(plain.glob("test/*/*.png")).relative_to(plain)
    assert (np.asarray(Image.open(turned / one)) == 255 - np.asarray(Image.open(plain / one))).all()


def made_up(script: ModuleType, single: dict[str, float], rates: dict[str, float]) -> object:
    return script.Answer(single, 0.02, rates, 0.25, 0.9, 0.8, 0.85)


def test_the_table_counts_what_agrees(script: ModuleType) -> None:
    hit = made_up(script, {"stem": 0.9, "head": 0.5}, {"stem": 5.0, "head": 1.0})
    near = made_up(script, {"stem": 0.9, "head": 0.89}, {"stem": 0.0, "head": 1.0})
    miss = made_up(script, {"stem": 0.9, "head": 0.5}, {"stem": 1.0, "head": 2.0})
    row = script.table({"noise": [hit, near, miss]})[2]
    assert row == "| noise | stem (3) | 1 of 3 | 2 of 3 | 2 of 3 | 0.25 | 0.900 | 0.800 | +0.0500 (+0.0500 to +0.0500) |"


@pytest.mark.slow
def test_the_small_preset_fills_the_table_and_repeats_nothing(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BIOTUNE_CACHE_DIR", str(tmp_path / "cache"))
    arguments = ["--small", "--seeds", "0", "--shifts", "noise", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["known_answers.py", *arguments])
    script.main()
    first = capsys.readouterr().out
    assert first.splitlines()[2].startswith("| noise | ")
    monkeypatch.setattr(script.subprocess, "run", lambda *given, **options: pytest.fail("ran again"))
    script.main()
    assert capsys.readouterr().out == first
    from safetensors.torch import load_file

    weights = load_file(tmp_path / "out" / "pre-trained" / "model.safetensors")
    assert weights.keys() == GlyphNet(10).state_dict().keys()
