"""Tests of the decoded cache: the right pixels, once, whole or not at all."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageOps
from torchvision import models
from torchvision.transforms import functional
from torchvision.transforms.functional import InterpolationMode
from trees import folder_config, folder_tree, write_image

from biotune.backbones.network import Preprocessing
from biotune.datasets.decoded import decode
from biotune.datasets.images import prepare
from biotune.datasets.loaders import folder
from biotune.datasets.source import Source
from biotune.errors import BiotuneError, DataError, RunFolderError
from biotune.store.scratch import cache_folder


@pytest.fixture
def source(tmp_path: Path, cache: Path) -> Source:
    return folder.load(folder_config(folder_tree(tmp_path / "images", {"a": 4, "b": 4})))


def counting(source: Source) -> tuple[Source, list[int]]:
    """The source, and the images that were read from it."""
    reads: list[int] = []

    def read(index: int) -> Image.Image:
        reads.append(index)
        return source.read(index)

    return dataclasses.replace(source, read=read), reads


EVERY = np.arange(8)


@pytest.mark.parametrize("size", [(300, 240), (240, 300), (232, 232), (100, 80), (501, 333), (64, 1000)])
@pytest.mark.parametrize("name", ["resnet50", "efficientnet_b0"])
def test_geometry_is_that_of_torchvisions_own_preset(tmp_path: Path, size: tuple[int, int], name: str) -> None:
    preset = models.get_model_weights(name).DEFAULT.transforms()
    path = write_image(tmp_path / "a.png", 100, size)
    mine = Preprocessing(
        preset.resize_size[0], preset.crop_size[0], tuple(preset.mean), tuple(preset.std), preset.interpolation.value
    )
    with Image.open(path) as image:
        ours = np.asarray(prepare(image, mine))
    with Image.open(path) as image:
        resized = functional.resize(image.convert("RGB"), preset.resize_size, preset.interpolation)
        assert (ours == np.asarray(functional.center_crop(resized, preset.crop_size))).all()
        whole = preset(image.convert("RGB"))
    mean, std = (np.array(values)[:, None, None] for values in (mine.mean, mine.std))
    np.testing.assert_allclose((ours.transpose(2, 0, 1) / 255 - mean) / std, whole.numpy(), atol=2e-6)


def test_the_filter_is_the_one_asked_for(tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.png", 100, (60, 50))
    with Image.open(path) as image:
        for kind in ("bilinear", "bicubic"):
            wanted = functional.resize(image, [20], InterpolationMode(kind))
            got = prepare(image, Preprocessing(20, 20, (0, 0, 0), (1, 1, 1), kind))
            assert (np.asarray(got) == np.asarray(functional.center_crop(wanted, [20, 20]))).all()


@pytest.mark.parametrize("size", [(64, 50), (200, 20), (20, 200), (40, 24), (2000, 30)])
def test_a_rectangle_is_cut_from_the_centre_of_the_image_that_just_covers_it(tmp_path: Path, size: tuple[int, int]) -> None:
    """Against PIL's own fit, which resizes and crops in one step, so that pixels differ a little."""
    gradient = np.stack(np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1])), axis=2)
    picture = Image.fromarray(np.dstack([gradient, gradient[..., :1]]).astype(np.uint8))
    found = np.asarray(prepare(picture, Preprocessing((24, 40), (24, 40), (0, 0, 0), (1, 1, 1), "bilinear")))
    assert found.shape == (24, 40, 3)
    fitted = np.asarray(ImageOps.fit(picture, (40, 24), Image.Resampling.BILINEAR))
    assert np.abs(found.astype(int) - fitted).max() <= 9


def test_pixels_are_memory_mapped_and_row_i_is_member_i(source: Source, eight: Preprocessing) -> None:
    members = np.array([1, 4, 6])
    result = decode(source, members, eight)
    assert isinstance(result.pixels, np.memmap)
    assert not result.pixels.flags.writeable
    assert result.pixels.shape == (3, 8, 8, 3)
    for row, member in enumerate(members):
        assert (result.pixels[row] == np.asarray(prepare(source.read(member), eight))).all()


def test_a_second_run_reads_no_image(source: Source, eight: Preprocessing) -> None:
    watched, reads = counting(source)
    first = decode(watched, EVERY, eight)
    assert sorted(reads) == list(range(8))
    again = decode(watched, EVERY, eight)
    assert len(reads) == 8
    assert (first.pixels == again.pixels).all()


@pytest.mark.parametrize("changed", ["crop", "resize", "filter", "members"])
def test_another_geometry_or_choice_is_decoded_anew(source: Source, eight: Preprocessing, changed: str) -> None:
    decode(source, EVERY, eight)
    other = {
        "crop": dataclasses.replace(eight, crop=6),
        "resize": dataclasses.replace(eight, resize=9),
        "filter": dataclasses.replace(eight, interpolation="bicubic"),
        "members": eight,
    }[changed]
    members = EVERY[:5] if changed == "members" else EVERY
    watched, reads = counting(source)
    result = decode(watched, members, other)
    assert len(reads) == len(members)
    assert (result.pixels[3] == np.asarray(prepare(source.read(3), other))).all()


@pytest.mark.parametrize("change", ["content", "time"])
def test_a_changed_file_is_decoded_anew(tmp_path: Path, source: Source, eight: Preprocessing, change: str) -> None:
    before = decode(source, EVERY, eight).pixels.copy()
    path = tmp_path / "images" / source.names[2]
    if change == "content":
        write_image(path, 250, (30, 30))
    else:
        os.utime(path, (1, 1))
    watched, reads = counting(folder.load(folder_config(tmp_path / "images")))
    after = decode(watched, EVERY, eight).pixels
    assert len(reads) == 8
    assert (np.delete(before, 2, 0) == np.delete(after, 2, 0)).all()
    assert (before[2] == after[2]).all() == (change == "time")


def test_an_interrupted_build_leaves_nothing_that_is_taken_for_whole(source: Source, eight: Preprocessing) -> None:
    def interrupted(index: int) -> Image.Image:
        if index == 5:
            raise KeyboardInterrupt
        return source.read(index)

    with pytest.raises(KeyboardInterrupt):
        decode(dataclasses.replace(source, read=interrupted), EVERY, eight)
    watched, reads = counting(source)
    result = decode(watched, EVERY, eight)
    assert sorted(reads) == list(range(8))
    assert (result.pixels[5] == np.asarray(prepare(source.read(5), eight))).all()


def test_a_killed_build_leaves_nothing_that_is_taken_for_whole(
    tmp_path: Path, cache: Path, source: Source, eight: Preprocessing
) -> None:
    script = textwrap.dedent(
        """
        import dataclasses, os, sys
        import numpy as np
        from biotune.backbones.network import Preprocessing
        from biotune.config.sections import DatasetConfig
        from biotune.datasets import decoded
        from biotune.datasets.loaders import folder
        source = folder.load(DatasetConfig("folder", "folder", root=sys.argv[1]))
        def read(index):
            if index == 5:
                os._exit(9)
            return source.read(index)
        half = (0.5, 0.5, 0.5)
        decoded.decode(dataclasses.replace(source, read=read), np.arange(8), Preprocessing(8, 8, half, half))
        """
    )
    environment = {**os.environ, "BIOTUNE_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, str(tmp_path / "images")]
    assert subprocess.run(command, env=environment, check=False, timeout=120).returncode == 9
    assert any((cache / "decoded").iterdir()), "it did die half-way"
    watched, reads = counting(source)
    result = decode(watched, EVERY, eight)
    assert sorted(reads) == list(range(8))
    assert (result.pixels[7] == np.asarray(prepare(source.read(7), eight))).all()


def test_of_two_builders_at_once_one_waits_and_reads_nothing(source: Source, eight: Preprocessing) -> None:
    waits = threading.Event()
    watched, reads = counting(source)

    def read(index: int) -> Image.Image:
        if index == 7:
            assert waits.wait(20), "the other one has come, and waits"
        return watched.read(index)

    def build(number: int) -> np.ndarray:
        return decode(replaced, EVERY, eight, on_progress=lambda done, total: waits.set() if done == 0 else None).pixels

    replaced = dataclasses.replace(source, read=read)
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(build, range(2)))
    wanted = np.stack([np.asarray(prepare(source.read(index), eight)) for index in EVERY])
    assert all((pixels == wanted).all() for pixels in results)
    assert sorted(reads) == list(range(8))
    assert len(list((cache_folder() / "decoded").iterdir())) == 1


def test_a_disk_without_room_is_told_of_before_anything_is_decoded(
    source: Source, eight: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, reads = counting(source)
    large = dataclasses.replace(eight, resize=64, crop=64)  # 98,304 bytes of pixels
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(RunFolderError, match=r"0\.0 GB free, .*need another 0\.0 GB.*dataset\.decoded=stream"):
        decode(watched, EVERY, large)
    assert decode(watched, EVERY, large, keep=False).pixels.shape == (0, 64, 64, 3)
    assert sorted(reads) == list(range(8))


def test_what_cannot_be_decoded_is_remembered_with_its_reason(tmp_path: Path, cache: Path, eight: Preprocessing) -> None:
    root = folder_tree(tmp_path / "images", {"a": 3, "b": 3})
    (root / "a" / "000.png").write_text("text")
    source = folder.load(folder_config(root))
    for _ in range(2):
        with pytest.raises(DataError, match=r"a/000\.png"):
            decode(source, np.arange(6), eight)
        assert set(decode(source, np.arange(6), eight, skip_broken=True).broken) == {0}


def test_many_broken_images_are_counted_in_one_line(tmp_path: Path, cache: Path, eight: Preprocessing) -> None:
    root = folder_tree(tmp_path / "images", {"a": 9, "b": 1})
    for path in (root / "a").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="and 6 more") as error:
        decode(folder.load(folder_config(root)), np.arange(10), eight)
    assert "\n" not in str(error.value)


def test_progress_counts_every_image(source: Source, eight: Preprocessing) -> None:
    seen: list[tuple[int, int]] = []
    decode(source, EVERY, eight, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 8) for done in range(1, 9)]


def test_a_cache_folder_that_cannot_be_written_says_what_to_set(
    tmp_path: Path, source: Source, eight: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("a file")
    monkeypatch.setenv("BIOTUNE_CACHE_DIR", str(tmp_path / "taken" / "below"))
    with pytest.raises(BiotuneError, match=r"cache folder .* cannot be written .*Set BIOTUNE_CACHE_DIR"):
        decode(source, EVERY, eight)
