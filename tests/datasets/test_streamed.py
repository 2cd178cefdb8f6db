"""Streamed images: the pixels of the decoded cache, without it; decoded ahead, checked, found again by other processes."""

from __future__ import annotations

import pickle
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import folder_config, folder_tree, write_image

from biotune.backbones.network import Preprocessing
from biotune.datasets import streamed
from biotune.datasets.data import Data, find_dataset, load_dataset
from biotune.datasets.loaders import folder
from biotune.datasets.streamed import Streamed
from biotune.errors import DataError


@pytest.fixture
def root(tmp_path: Path, cache: Path) -> Path:
    return folder_tree(tmp_path / "images", {"a": 10, "b": 10})


def loaded(root: Path, geometry: Preprocessing, decoded: str, **options: object) -> Data:
    return load_dataset(find_dataset(folder_config(root, decoded=decoded, **options)), geometry)


def stream(root: Path, geometry: Preprocessing) -> Streamed:
    pixels = loaded(root, geometry, "stream").pixels
    assert isinstance(pixels, Streamed)
    return pixels


def test_all_but_the_place_of_the_pixels_is_the_same(root: Path, cache: Path, eight: Preprocessing) -> None:
    write_image(root / "a" / "twin.png", 1)
    write_image(root / "b" / "twin.png", 1)
    (root / "b" / "broken.png").write_text("no image")
    there = loaded(root, eight, "stream", skip_broken=True)
    assert not list(cache.rglob("pixels.npy"))
    kept = loaded(root, eight, "cache", skip_broken=True)
    rows = np.array([3, 0, 19, 7])
    assert isinstance(there.pixels, Streamed)
    assert there.pixels.shape == kept.pixels.shape
    assert there.pixels[rows].dtype == np.uint8
    assert (there.pixels[rows] == kept.pixels[rows]).all()
    assert (there.pixels[5] == kept.pixels[5]).all()
    assert there.skipped == kept.skipped == ("b/broken.png",)
    assert len(there.copies) == 1
    for name in ("classes", "names", "test", "fingerprint", "resampling", "value_range", "copies"):
        assert np.array_equal(getattr(there, name), getattr(kept, name)), name
    assert (there.whole.train == kept.whole.train).all()


def test_images_of_more_than_eight_bits_are_scaled_alike(tmp_path: Path, cache: Path, eight: Preprocessing) -> None:
    for name, high in (("a", 900), ("b", 4000)):
        (tmp_path / "deep" / name).mkdir(parents=True)
        for index in range(5):
            values = np.linspace(index, high - index, 100, dtype=np.uint16).reshape(10, 10)
            Image.fromarray(values).save(tmp_path / "deep" / name / f"{index}.png")
    there, kept = (loaded(tmp_path / "deep", eight, decoded) for decoded in ("stream", "cache"))
    assert there.value_range == kept.value_range is not None
    assert (there.pixels[np.arange(10)] == kept.pixels[np.arange(10)]).all()


def test_a_second_start_decodes_nothing(root: Path, eight: Preprocessing, monkeypatch: pytest.MonkeyPatch) -> None:
    first = loaded(root, eight, "stream")
    load = folder.load

    def unread(config: object) -> object:
        def read(index: int) -> Image.Image:
            raise AssertionError(f"image {index} was read")

        return replace(load(config), read=read)  # type: ignore[arg-type]

    monkeypatch.setattr(folder, "load", unread)
    assert loaded(root, eight, "stream").fingerprint == first.fingerprint


def test_a_decoded_cache_that_is_there_already_is_enough(root: Path, cache: Path, eight: Preprocessing) -> None:
    loaded(root, eight, "cache")
    stream(root, eight)
    assert len(list((cache / "decoded").iterdir())) == 1


def test_mini_batches_come_in_order_and_the_next_one_is_decoded_meanwhile(root: Path, eight: Preprocessing) -> None:
    pixels = stream(root, eight)
    batches = [np.array([4, 1]), np.array([2, 3, 9]), np.array([0]), np.array([8, 5])]
    source, begun = pixels._source, []
    assert source is not None
    second = threading.Event()

    def read(index: int) -> Image.Image:
        begun.append(index)
        if {2, 3, 9} <= set(map(row_of, begun)):
            second.set()
        return source.read(index)

    def row_of(index: int) -> int:
        return int(np.flatnonzero(pixels._members == index)[0])

    pixels._source = replace(source, read=read)
    expected = [pixels[rows] for rows in batches]
    begun.clear()
    second.clear()
    coming = pixels.in_turn(batches)
    first = next(coming)
    assert second.wait(20), "the second one is decoded although nobody has asked for it"
    assert not {0, 8, 5} & set(map(row_of, begun)), "no more than one is decoded ahead"
    assert all((one == other).all() for one, other in zip([first, *coming], expected, strict=True))


def test_leaving_off_ends_the_threads(root: Path, eight: Preprocessing) -> None:
    before = threading.active_count()
    coming = stream(root, eight).in_turn([np.arange(5), np.arange(5), np.arange(5)])
    next(coming)
    coming.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ("vanished", r"a/004\.png could be decoded.*No such file"),
        ("broken", r"a/004\.png could be decoded"),
        ("other", "has changed"),
    ],
)
def test_an_image_that_does_not_stay_as_it_was_is_named(root: Path, eight: Preprocessing, harm: str, said: str) -> None:
    pixels = stream(root, eight)
    path = root / "a" / "004.png"
    before = pixels[4]
    if harm == "vanished":
        path.unlink()
    elif harm == "broken":
        path.write_bytes(path.read_bytes()[:60])
    else:
        write_image(path, 250)
    with pytest.raises(DataError, match=said):
        pixels[np.array([3, 4])]
    write_image(path, 5)
    assert (pixels[4] == before).all(), "restored"


def test_another_process_finds_the_files_again(root: Path, eight: Preprocessing, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = stream(root, eight)
    copy = pickle.loads(pickle.dumps(pixels))
    with pytest.raises(RuntimeError, match="open"):
        copy[0]
    copy.open(3)
    assert copy._threads == 3
    assert (copy[np.arange(20)] == pixels[np.arange(20)]).all()
    monkeypatch.setattr(streamed, "usable_cores", lambda: 7)
    copy.open()
    assert copy._threads == 7


def test_another_process_refuses_files_that_have_changed(root: Path, eight: Preprocessing) -> None:
    sent = pickle.dumps(stream(root, eight))
    write_image(root / "a" / "new.png", 3)
    with pytest.raises(DataError, match=r"files have changed since the run began.*dataset\.decoded=stream"):
        pickle.loads(sent).open()


def test_bundled_images_stay_in_memory(eight: Preprocessing) -> None:
    from biotune.config.sections import DatasetConfig

    config = DatasetConfig("digits", "digits", decoded="stream", max_per_class=4, max_eval_per_class=2)
    assert isinstance(load_dataset(find_dataset(config), eight).pixels, np.ndarray)
