"""Tests of the forms in which image files come: decoded to pixels that were computed by hand, or named with the reason."""

from __future__ import annotations

import io
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from trees import write_image

from biotune.config.sections import DatasetConfig
from biotune.datasets.check import check_copy
from biotune.datasets.images import image_names, open_image, to_rgb

Image.init()
HAS_AVIF = "AVIF" in Image.OPEN
FIRST, SECOND = (10, 20, 30), (200, 100, 50)


def shown(path: Path) -> np.ndarray:
    with open_image(path) as opened:
        return np.asarray(to_rgb(opened))


def plain(colour: tuple[int, ...], mode: str = "RGB", size: tuple[int, int] = (8, 4)) -> Image.Image:
    return Image.new(mode, size, colour)


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("pages.tif", {}, 0),
        ("pages.tiff", {"compression": "tiff_lzw"}, 0),
        ("moving.gif", {"duration": 100, "loop": 0}, 0),
        ("moving.png", {"duration": 100}, 0),
        ("moving.webp", {"lossless": True}, 0),
        ("moving.avif", {"quality": 100}, 2),
    ],
)
def test_of_several_pages_or_frames_the_first_is_shown(
    tmp_path: Path, name: str, options: dict[str, Any], tolerance: int
) -> None:
    if name.endswith(".avif") and not HAS_AVIF:
        pytest.skip("this Pillow has no AVIF")
    plain(FIRST).save(tmp_path / name, save_all=True, append_images=[plain(SECOND), plain(FIRST)], **options)
    with Image.open(tmp_path / name) as opened:
        assert getattr(opened, "n_frames", 1) == 3
    pixels = shown(tmp_path / name)
    assert pixels.shape == (4, 8, 3)
    assert np.abs(pixels.astype(int) - FIRST).max() <= tolerance


def test_each_entry_of_a_palette_may_have_its_own_opacity(tmp_path: Path) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([1, 2, 3, 100, 0, 200, 200, 1, 1] + [0] * (253 * 3))
    for place in range(3):
        image.putpixel((place, 0), place)
    image.save(tmp_path / "a.png", transparency=bytes([0, 51, 255]))
    # a fifth of (100, 0, 200) over four fifths of white
    assert shown(tmp_path / "a.png")[0].tolist() == [[255, 255, 255], [224, 204, 244], [200, 1, 1]]


def test_one_transparent_colour_is_white_and_others_stay(tmp_path: Path) -> None:
    image = plain(FIRST, size=(2, 1))
    image.putpixel((1, 0), SECOND)
    image.save(tmp_path / "a.png", transparency=FIRST)
    assert shown(tmp_path / "a.png")[0].tolist() == [[255, 255, 255], list(SECOND)]


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp"])
def test_half_opaque_colours_lie_over_white(tmp_path: Path, name: str) -> None:
    options = {"lossless": True, "exact": True} if name.endswith("webp") else {}
    plain((255, 0, 0, 51), "RGBA").save(tmp_path / name, **options)
    assert shown(tmp_path / name)[0, 0].tolist() == [255, 204, 204]


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_one_bit_is_black_or_white(tmp_path: Path, name: str) -> None:
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    image.save(tmp_path / name)
    assert shown(tmp_path / name)[0].tolist() == [[0, 0, 0], [255, 255, 255]]


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (np.array([[0, 0.2, 0.5, 1]], np.float32), [0, 51, 128, 255]),  # floats of at most 1 go from 0 to 1
        (np.array([[0, 51, 127.6, 255]], np.float32), [0, 51, 128, 255]),  # and others from 0 to 255
        (np.array([[0, 257, 40000, 65535]], np.int32), [0, 1, 156, 255]),  # integers from 0 to 65,535
        (np.array([[-5, 0, 65535, 70000]], np.int32), [0, 0, 255, 255]),  # what lies outside is clipped
    ],
)
def test_values_of_32_bits_are_scaled_by_the_range_of_their_type(tmp_path: Path, values: np.ndarray, wanted: list[int]) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert shown(tmp_path / "a.tif")[0, :, 0].tolist() == wanted


def test_cmyk_in_a_tiff_is_exact(tmp_path: Path) -> None:
    plain((255, 51, 0, 0), "CMYK").save(tmp_path / "a.tif")
    assert shown(tmp_path / "a.tif")[0, 0].tolist() == [0, 204, 255]


def corners(pixels: np.ndarray) -> list[int]:
    """Whether the four corners are white, row by row."""
    height, width = pixels.shape[:2]
    return [int(pixels[y, x, 0] > 128) for y in (2, height - 3) for x in (2, width - 3)]


@pytest.mark.parametrize(("orientation", "white"), [(1, [1, 0, 0, 0]), (3, [0, 0, 0, 1]), (6, [0, 1, 0, 0]), (8, [0, 0, 1, 0])])
@pytest.mark.parametrize("kind", ["jpg", "png", "webp", "tif", "avif", "heic"])
def test_a_turned_camera_is_turned_back(tmp_path: Path, kind: str, orientation: int, white: list[int]) -> None:
    if kind == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    if kind == "avif" and not HAS_AVIF:
        pytest.skip("this Pillow has no AVIF")
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = plain((0, 0, 0), size=(32, 16))
    image.paste((255, 255, 255), (0, 0, 16, 8))
    if kind == "heic":  # phones turn a HEIC image by a property of its own, which this makes the library write
        image.info["exif"] = exif.tobytes()
        image.save(tmp_path / "a.heic", quality=95)
    else:
        image.save(tmp_path / f"a.{kind}", exif=exif)
    pixels = shown(tmp_path / f"a.{kind}")
    assert pixels.shape[:2] == ((32, 16) if orientation in (6, 8) else (16, 32))
    assert corners(pixels) == white


def test_formats_of_phones_and_browsers_are_images_by_their_names(tmp_path: Path) -> None:
    names = ["a.avif", "b.GIF", "c.HEIC", "d.heif", "e.jfif"]
    for name in [*names, "f.mp4", "g.svg"]:
        (tmp_path / name).touch()
    assert list(image_names(tmp_path)) == names


@pytest.mark.parametrize("kind", ["avif", "gif", "heic", "jpg", "png", "tif", "webp"])
def test_half_a_file_is_named_with_a_reason_that_is_no_advice_to_install(tmp_path: Path, kind: str) -> None:
    if kind == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    if kind == "avif" and not HAS_AVIF:
        pytest.skip("this Pillow has no AVIF")
    for name in ("a/1.png", "b/2.png"):
        write_image(tmp_path / name)
    file = write_image(tmp_path / "a" / f"half.{kind}", 90, (64, 48))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    broken = check_copy(DatasetConfig("folder", "folder", root=str(tmp_path))).broken
    assert list(broken) == [f"a/half.{kind}"]
    assert broken[f"a/half.{kind}"] and "pip install" not in broken[f"a/half.{kind}"]


def test_heic_without_its_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(Image, "ID", [kind for kind in Image.ID if not kind.startswith("HEI")])
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(ValueError, match=r"HEIC image, which needs .*pip install 'biotune\[heic\]'"):
        open_image(tmp_path / "a.heic")


def test_avif_without_its_decoder_names_the_version_of_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(Image.OPEN, "AVIF", raising=False)
    monkeypatch.setattr(Image, "ID", [kind for kind in Image.ID if kind != "AVIF"])
    content = io.BytesIO(b"\0\0\0\x18ftypavif" + bytes(100))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="AVIF image, which needs Pillow 11.3 or newer"):
            open_image(content)


def test_heic_is_decoded_once_its_package_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = pytest.importorskip("pillow_heif")
    library.from_pillow(plain(SECOND, size=(32, 16))).save(tmp_path / "a.heic", quality=95)
    monkeypatch.setattr(Image, "ID", [kind for kind in Image.ID if not kind.startswith("HEI")])  # as in a new process
    assert np.abs(shown(tmp_path / "a.heic").astype(int) - SECOND).max() <= 4
