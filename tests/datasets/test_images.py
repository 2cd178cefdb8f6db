"""Tests of how image files are opened: as a viewer shows them."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from trees import write_image

from biotune.datasets.images import bombs_refused, image_names, open_image, to_rgb
from biotune.datasets.loaders.files import fingerprint


def reopened(image: Image.Image, path: Path, **options: object) -> np.ndarray:
    image.save(path, **options)
    with Image.open(path) as opened:
        rgb = to_rgb(opened)
    assert rgb.mode == "RGB"
    return np.asarray(rgb)


def test_transparency_is_shown_over_white(tmp_path: Path) -> None:
    pixels = np.zeros((1, 3, 4), dtype=np.uint8)
    pixels[0, 0] = (255, 0, 0, 255)
    pixels[0, 1] = (255, 0, 0, 0)
    pixels[0, 2] = (0, 0, 0, 51)
    shown = reopened(Image.fromarray(pixels), tmp_path / "a.png")
    assert shown[0].tolist() == [[255, 0, 0], [255, 255, 255], [204, 204, 204]]


def test_grey_with_alpha_is_shown_over_white(tmp_path: Path) -> None:
    pixels = np.array([[[10, 255], [10, 0]]], dtype=np.uint8)
    assert reopened(Image.fromarray(pixels, "LA"), tmp_path / "a.png")[0].tolist() == [[10] * 3, [255] * 3]


def test_a_palette_shows_its_colours(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 10, 20, 30] + [0] * (254 * 3))
    image.putpixel((1, 0), 1)
    assert reopened(image, tmp_path / "a.png")[0].tolist() == [[0, 0, 0], [10, 20, 30]]


def test_a_transparent_palette_entry_is_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 10, 20, 30] + [0] * (254 * 3))
    image.putpixel((1, 0), 1)
    assert reopened(image, tmp_path / "a.gif", transparency=0)[0].tolist() == [[255, 255, 255], [10, 20, 30]]


def test_sixteen_bits_are_scaled_to_eight_not_clipped(tmp_path: Path) -> None:
    values = np.array([[0, 257, 128 * 257, 65535]], dtype=np.uint16)
    shown = reopened(Image.fromarray(values), tmp_path / "a.png")
    assert shown[0, :, 0].tolist() == [0, 1, 128, 255]


def test_cmyk_becomes_the_rgb_it_stands_for(tmp_path: Path) -> None:
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    shown = reopened(cyan, tmp_path / "a.jpg", quality=100)
    assert np.abs(shown[4, 4].astype(int) - [0, 255, 255]).max() <= 3


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(1, (0, 0)), (2, (0, -1)), (3, (-1, -1)), (4, (-1, 0)), (6, (0, -1)), (8, (-1, 0))],
)
def test_exif_orientation_turns_the_image_as_a_viewer_does(tmp_path: Path, orientation: int, corner: tuple[int, int]) -> None:
    image = Image.new("RGB", (4, 2))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = orientation
    shown = reopened(image, tmp_path / "a.png", exif=exif)
    assert shown.shape[:2] == ((4, 2) if orientation in (6, 8) else (2, 4))
    assert shown[corner].tolist() == [255, 255, 255]
    assert shown.sum() == 3 * 255


def test_a_fingerprint_follows_name_size_and_time(tmp_path: Path) -> None:
    names = ["a.png", "b.png"]
    for name in names:
        write_image(tmp_path / name)
        os.utime(tmp_path / name, (1000, 1000))
    first = fingerprint(tmp_path, names)
    assert fingerprint(tmp_path, names) == first
    assert fingerprint(tmp_path, names[:1]) != first
    os.utime(tmp_path / "a.png", (1000, 1001))
    touched = fingerprint(tmp_path, names)
    assert touched != first
    (tmp_path / "a.png").write_bytes(b"other size")
    os.utime(tmp_path / "a.png", (1000, 1001))
    assert fingerprint(tmp_path, names) != touched


@pytest.fixture
def bomb(tmp_path: Path) -> Path:
    """100 million white pixels in a few kilobytes."""
    Image.new("1", (10_000, 10_000)).save(tmp_path / "bomb.png")
    return tmp_path / "bomb.png"


def test_importing_biotune_leaves_the_users_warning_filters_alone() -> None:
    modules = "biotune.datasets.images, biotune.datasets.decoded, biotune.datasets.check"
    code = f"import warnings; import sys; import {modules}; "
    code += "sys.exit(any(f[2].__name__.startswith('Decompression') for f in warnings.filters))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_too_many_pixels_are_an_error_while_images_are_decoded_and_a_warning_again_afterwards(bomb: Path) -> None:
    before = list(warnings.filters)
    with bombs_refused(), pytest.raises(Image.DecompressionBombWarning):
        Image.open(bomb)
    assert list(warnings.filters) == before


def test_an_image_with_too_many_pixels_is_refused_where_warnings_are_silenced(bomb: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="10000×10000 pixels are more than"):
            open_image(bomb)


def test_names_of_images_come_in_the_order_of_their_paths_whatever_lies_between(tmp_path: Path) -> None:
    names = ["b.jpg", "a-b/1.jpg", "a/2.PNG", "a/1.png", "a/c/3.tiff", "a.jpg", "Z.webp"]
    for name in [*names, "a/.hidden/4.png", ".5.png", "a/6.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "gone.png").symlink_to("nowhere")
    (tmp_path / "link.png").symlink_to("b.jpg")
    (tmp_path / "folder").symlink_to("a")
    (tmp_path / "named.png").mkdir()
    expected = ["Z.webp", "a/1.png", "a/2.PNG", "a/c/3.tiff", "a-b/1.jpg", "a.jpg", "b.jpg", "link.png"]
    assert list(image_names(tmp_path)) == expected
    assert [tmp_path / name for name in expected] == sorted(tmp_path / name for name in expected)


def test_a_folder_is_listed_only_when_its_files_are_drawn(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    names = image_names(tmp_path)
    assert next(names) == "a/1.png"
    (tmp_path / "b/3.png").touch()
    assert list(names) == ["b/2.png", "b/3.png"]
