"""What the final training runs leave beside their scores."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from biotune.cli import main


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear probe of digits, trained so briefly that it makes mistakes."""
    folder = tmp_path_factory.mktemp("probed") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["biotune"])
        small = ["training.epochs=1", "test.seeds=[1]", "dataset.max_eval_per_class=10"]
        assert main(["train", "strategy=linear_probe", *small, "executor=in_process", f"hydra.run.dir={folder}", "-q"]) == 0
    return folder


def test_images_that_have_no_files_are_kept_where_the_model_is_surely_wrong(probed: Path) -> None:
    table = pd.read_csv(probed / "predictions.csv", dtype=str)
    wrong = table[table.true_class != table.predicted_class].copy()
    wrong["probability"] = wrong.probability.astype(float)
    surest = wrong.sort_values("probability", ascending=False, kind="stable").head(12)
    assert len(surest) == 12
    kept = {path.name: np.asarray(Image.open(path)) for path in (probed / "mistakes").iterdir()}
    assert set(kept) == {f"{row}.png" for row in surest.index}
    originals = load_digits().images
    for row, name in surest.picture.items():
        grey = Image.fromarray(np.clip(originals[int(name)] * (255 / 16), 0, 255).astype(np.uint8))
        expected = np.asarray(grey.resize((16, 16), Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(kept[f"{row}.png"], np.stack([expected] * 3, axis=-1))


def test_the_page_shows_them(probed: Path) -> None:
    assert (probed / "report.html").read_text(encoding="utf-8").count("data:image/jpeg;base64,") == 12
