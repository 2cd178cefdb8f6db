"""Tests of the range of values in images of more than 8 bits."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import folder_config, write_image

from biotune.backbones.network import Preprocessing
from biotune.datasets.data import find_dataset, load_dataset
from biotune.errors import DataError


def png_of_16_bits(path: Path, values: np.ndarray) -> None:
    """Write (H, W) grey, or (H, W, 2 to 4) values with opacity or colours, as PNG of 16 bits; Pillow writes grey ones only."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    colour = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2] if values.ndim == 3 else 1]
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


def tiff_of_16_bits(path: Path, values: np.ndarray) -> None:
    """Write (H, W, 3) colours as an uncompressed TIFF of 16 bits, which Pillow cannot write."""
    pixels = values.astype("<u2").tobytes()
    directory = 8 + len(pixels)
    bits = directory + 2 + 12 * 9 + 4  # behind the directory of nine entries
    short, long = 3, 4
    height, width, channels = values.shape
    entries = [
        (256, short, 1, width),
        (257, short, 1, height),
        (258, short, channels, bits),
        (259, short, 1, 1),
        (262, short, 1, 2),
        (273, long, 1, 8),
        (277, short, 1, channels),
        (278, short, 1, height),
        (279, long, 1, len(pixels)),
    ]
    head = b"II*\0" + struct.pack("<I", directory) + pixels + struct.pack("<H", len(entries))
    path.write_bytes(head + b"".join(struct.pack("<HHII", *entry) for entry in entries) + struct.pack("<I3H", 0, 16, 16, 16))


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png" and values.dtype == np.uint16:
        png_of_16_bits(path, values)
    elif values.ndim == 3 and values.dtype == np.uint16:
        tiff_of_16_bits(path, values)
    else:
        Image.fromarray(values).save(path)


def ramp(low: float, high: float, dtype: str) -> np.ndarray:
    """An image of 8 × 8 values from low to high, even steps row by row."""
    return np.linspace(low, high, 64).reshape(8, 8).astype(dtype)


def loaded(root: Path, eight: Preprocessing, images: list[np.ndarray], ending: str, **settings: object):
    """A dataset of two classes with these images in each, for training, validation and test."""
    for split in ("train", "val", "test"):
        for name in ("a", "b"):
            for number, values in enumerate(images):
                write(root / split / name / f"{number}{ending}", values)
    return load_dataset(find_dataset(folder_config(root, **settings)), eight)


@pytest.mark.parametrize(
    ("low", "high", "dtype", "ending", "expected"),
    [
        (0, 4095, "uint16", ".png", (0, 4095)),  # 12 bits: microscopes, X-ray
        (0, 4095, "uint16", ".tif", (0, 4095)),
        (7000, 9000, "uint16", ".png", (7000, 9000)),  # thermal cameras
        (-1024, 3071, "int32", ".tif", (-1024, 3071)),  # Hounsfield units
        (0, 1_000_000, "int32", ".tif", (0, 1_000_000)),
        (0, 3000, "float32", ".tif", (0, 3000)),
        (0, 1, "float32", ".tif", (0, 1)),
        (0, 0.75, "float32", ".tif", (0, 1)),
        (0, 255, "float32", ".tif", (0, 255)),
        (0, 0.0625, "float32", ".tif", (0, 0.0625)),  # 12 bits divided by 65,535
        (-1, 1, "float32", ".tif", (-1, 1)),
    ],
)
def test_values_are_scaled_by_the_range_that_the_training_images_use(
    tmp_path: Path, cache: Path, eight: Preprocessing, low: float, high: float, dtype: str, ending: str, expected: tuple
) -> None:
    values = ramp(low, high, dtype)
    data = loaded(tmp_path / "images", eight, [values], ending)
    assert data.value_range == expected
    by_hand = np.round((values.astype(float) - expected[0]) / (expected[1] - expected[0]) * 255)
    assert data.pixels[0].astype(float) == pytest.approx(np.repeat(by_hand[..., None], 3, axis=2), abs=1)


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_images_that_use_their_sixteen_bits_are_scaled_by_the_type(
    tmp_path: Path, cache: Path, eight: Preprocessing, ending: str
) -> None:
    data = loaded(tmp_path / "images", eight, [ramp(100, 60_000, "uint16")], ending)
    assert data.value_range is None
    assert (data.pixels[0].min(), data.pixels[0].max()) == (0, 233)  # 100 / 257 and 60,000 / 257


def test_images_of_eight_bits_are_taken_as_they_are(tmp_path: Path, cache: Path, eight: Preprocessing) -> None:
    data = loaded(tmp_path / "images", eight, [ramp(0, 15, "uint8")], ".png")
    assert data.value_range is None
    assert data.pixels.max() == 15


@pytest.mark.parametrize(("channels", "ending"), [(3, ".png"), (4, ".png"), (3, ".tif")])
def test_colours_of_sixteen_bits_keep_their_lower_eight(
    tmp_path: Path, cache: Path, eight: Preprocessing, channels: int, ending: str
) -> None:
    values = np.repeat(ramp(0, 4095, "uint16")[..., None], channels, axis=2)
    if channels == 4:
        values[..., -1] = 65535  # opaque
    data = loaded(tmp_path / "images", eight, [values], ending)
    assert data.value_range == (0, 4095)
    assert data.pixels[0, ..., 0] == pytest.approx(np.round(values[..., 0] / 4095 * 255), abs=1)


def test_a_black_image_among_floats_of_up_to_255_stays_black(tmp_path: Path, cache: Path, eight: Preprocessing) -> None:
    data = loaded(tmp_path / "images", eight, [ramp(0, 255, "float32"), ramp(0, 1, "float32")], ".tif")
    assert data.pixels[1].max() <= 1


def test_values_that_are_no_numbers_are_black(tmp_path: Path, cache: Path, eight: Preprocessing) -> None:
    values = ramp(0, 3000, "float32")
    values[0, 0], values[0, 1] = np.nan, np.inf
    data = loaded(tmp_path / "images", eight, [values], ".tif")
    assert data.value_range == (pytest.approx(values[0, 2]), 3000)
    assert data.pixels[0, 0, :2, 0].tolist() == [0, 255]


def test_a_range_can_be_stated_and_clips_what_lies_outside(tmp_path: Path, cache: Path, eight: Preprocessing) -> None:
    data = loaded(tmp_path / "images", eight, [ramp(0, 4095, "uint16")], ".png", value_range="1000,2000")
    assert data.value_range == (1000, 2000)
    assert (data.pixels[0].min(), data.pixels[0].max()) == (0, 255)
    assert (data.pixels[0, ..., 0] == 0).sum() == 16  # of 64 even steps up to 4,095 those up to 1,000


def test_only_training_images_have_a_say(tmp_path: Path, cache: Path, eight: Preprocessing) -> None:
    for name in ("a", "b"):
        write(tmp_path / "test" / name / "bright.png", ramp(0, 65_535, "uint16"))
    data = loaded(tmp_path, eight, [ramp(0, 4095, "uint16")], ".png")
    assert data.value_range == (0, 4095)


def test_integers_and_floats_together_are_scaled_by_their_types(tmp_path: Path, cache: Path, eight: Preprocessing) -> None:
    write(tmp_path / "train" / "a" / "float.tif", ramp(0, 1, "float32"))
    data = loaded(tmp_path, eight, [ramp(0, 4095, "uint16")], ".png")
    assert data.value_range is None


def test_where_pillow_cannot_read_the_lower_eight_bits_the_image_is_named(
    tmp_path: Path, cache: Path, eight: Preprocessing
) -> None:
    values = np.repeat(ramp(0, 4095, "uint16")[..., None], 2, axis=2)
    values[..., -1] = 65535
    with pytest.raises(DataError, match=r"0\.png \(only the upper eight bits of LA;16B can be read; save it as 16-bit RGB\)"):
        loaded(tmp_path / "images", eight, [values], ".png")


def test_the_range_is_found_once(tmp_path: Path, cache: Path, eight: Preprocessing, monkeypatch: pytest.MonkeyPatch) -> None:
    first = loaded(tmp_path / "images", eight, [ramp(0, 4095, "uint16")], ".png")
    monkeypatch.setattr("biotune.datasets.value_range._extremes", None)
    again = load_dataset(find_dataset(folder_config(tmp_path / "images")), eight)
    assert again.value_range == first.value_range == (0, 4095)
    assert again.fingerprint == first.fingerprint
    stated = load_dataset(find_dataset(folder_config(tmp_path / "images", value_range="0,65535")), eight)
    assert stated.fingerprint != first.fingerprint
    assert stated.pixels.max() == 16


def test_a_dataset_of_other_images_needs_no_range(tmp_path: Path, cache: Path, eight: Preprocessing) -> None:
    for name in ("a", "b"):
        for number in range(5):
            write_image(tmp_path / "images" / name / f"{number}.png")
    assert load_dataset(find_dataset(folder_config(tmp_path / "images")), eight).value_range is None
