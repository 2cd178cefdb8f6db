"""A whole run on streamed images: the same tables, schedule, model and predictions as on decoded ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from kills import assert_same
from trees import write_image

from biotune.cli import main

RUN = ["run", "dataset=folder", "dataset.root=images", "experiment=smoke", "dataset.skip_broken=true", "training.lr=0.003"]


@pytest.mark.slow
def test_a_whole_run_is_the_same_and_may_be_resumed_with_the_other_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BIOTUNE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for label, name in enumerate("abc"):
        for index in range(14):
            write_image(tmp_path / "images" / name / f"{index:02d}.png", 40 + 80 * label + index, (20, 16))
    (tmp_path / "images" / "a" / "broken.png").write_text("no image")
    assert main([*RUN, "hydra.run.dir=stream", "dataset.decoded=stream", "-q"]) == 0
    assert not list((tmp_path / "cache").rglob("pixels.npy"))
    assert main([*RUN, "hydra.run.dir=cache", "-q"]) == 0
    assert_same(tmp_path / "stream", tmp_path / "cache")
    assert main(["resume", "stream", "dataset.decoded=cache", "evolution.generations=2", "-q"]) == 0
    assert main(["resume", "cache", "evolution.generations=2", "-q"]) == 0
    assert_same(tmp_path / "stream", tmp_path / "cache")
