"""Opens, converts, resizes and crops single images."""

from __future__ import annotations

import io
import math
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from biotune.config.key import Sides, height_and_width

ValueRange = tuple[float, float]  # what becomes black, and what becomes white
EIGHT_BIT, WIDE, FLOAT = "8-bit", "16-bit", "float"  # kinds of values
TYPE_RANGE: ValueRange = (0.0, 65535.0)  # of 16-bit integers

# suffixes of image files: torchvision's IMG_EXTENSIONS, copied because its import takes two seconds, and what else browsers
# and phones write
IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"),
    *(".jfif", ".gif", ".avif", ".heic", ".heif"),
)
# kinds of images in an ISO base media file: what its header names them
_AVIF_BRANDS, _HEIC_BRANDS = (b"avif", b"avis"), (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

# what systems and programs leave among images, besides names that begin with a dot (.ipynb_checkpoints, ._image.jpg)
_LEFTOVERS = {"__macosx", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "lost+found"}


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is no data but something that a system or a program has left."""
    return name.startswith(".") or name.lower() in _LEFTOVERS


def files_below(folder: Path, hidden: bool = False) -> Iterator[str]:
    """Yield the files in a folder and in the folders in it, relative to it, in the order of their paths.

    Folders are listed as their files are drawn; links to folders are not followed.

    Args:
        folder: The folder; what cannot be read in it is passed over.
        hidden: Whether hidden files, and those in hidden folders, are among them.
    """
    pending = [""]  # files, and folders with a separator at their end; the next one last
    while pending:
        place = pending.pop()
        if place and not place.endswith(os.sep):
            yield place
            continue
        try:
            with os.scandir(folder / place) as listed:
                entries = [entry for entry in listed if hidden or not is_hidden(entry.name)]
        except OSError:
            continue
        # part by part, as paths are compared, but without making a million of them
        for entry in sorted(entries, key=lambda entry: os.path.normcase(entry.name), reverse=True):
            name = place + entry.name
            try:  # asked of the entry, which has come with the listing, and not of the file: there may be a million
                is_folder, is_file = entry.is_dir(), entry.is_file()
            except OSError:  # as of a link that leads to itself
                continue
            if is_file:
                pending.append(name)
            elif is_folder and not entry.is_symlink():
                pending.append(name + os.sep)


def image_names(folder: Path) -> Iterator[str]:
    """Those of `files_below` that are images by their names; hidden ones are no data."""
    return (name for name in files_below(folder) if name.lower().endswith(IMAGE_SUFFIXES))


@contextmanager
def bombs_refused() -> Iterator[None]:
    """Make Pillow raise an error, not only a warning, on an image with too many pixels.

    Filters that the user has set take precedence. Filters belong to the process, so this one must enclose a whole loop over
    threads and not be set within a thread.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning, append=True)
        yield


class Geometry(Protocol):
    """The size and crop of a network's input images, as far as datasets need them."""

    @property
    def resize(self) -> Sides:
        """Pixels to which the shorter side is resized, or the height and width that the resized image covers."""

    @property
    def crop(self) -> Sides:
        """Side of the centre crop in pixels, or its height and width."""

    @property
    def interpolation(self) -> str:
        """PIL's name of the interpolation: bilinear or bicubic."""

    def scaled_to(self, image_size: Sides | None) -> Geometry:
        """Return the geometry for another image size in pixels; None changes nothing."""


def open_image(file: Path | BinaryIO) -> Image.Image:
    """Open an image without decoding it; of several pages or frames the first.

    Args:
        file: The image file, or its content.

    Raises:
        ValueError: It would decode to more pixels than `Image.MAX_IMAGE_PIXELS`, or its format needs a further package.
        OSError: The file is missing or not an image.
    """
    try:
        image = Image.open(file)
    except UnidentifiedImageError:
        _learn_format(file)
        image = Image.open(file)
    # Pillow only warns, and a filter may suppress the warning
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        image.close()
        raise ValueError(f"{image.width}×{image.height} pixels are more than the {Image.MAX_IMAGE_PIXELS:,} allowed")
    return image


def _learn_format(file: Path | BinaryIO) -> None:
    """Teach Pillow the format of a file that it does not know.

    Raises:
        ValueError: A package is missing.
    """
    if isinstance(file, Path):
        with file.open("rb") as opened:
            header = opened.read(12)
    else:
        file.seek(0)
        header = file.read(12)
        file.seek(0)
    brand = header[8:12] if header[4:8] == b"ftyp" else b""
    if brand in _AVIF_BRANDS and "AVIF" not in Image.OPEN:
        raise ValueError("it is an AVIF image, which needs Pillow 11.3 or newer: pip install --upgrade pillow")
    if brand in _HEIC_BRANDS:
        try:
            from pillow_heif import register_heif_opener
        except ImportError as error:
            raise ValueError("it is a HEIC image, which needs a further package: pip install 'biotune[heic]'") from error
        register_heif_opener()


def kind_of(image: Image.Image) -> str:
    """The kind of an opened image's values: `8-bit`, `16-bit` (also wider integers) or `float`; decodes nothing."""
    if image.mode == "F":
        return FLOAT
    if image.mode.startswith("I") or _is_deep_colour(image):
        return WIDE
    return EIGHT_BIT


def _layout(image: Image.Image) -> str:
    """The layout of an opened, undecoded image's values in its file, such as RGB;16B; empty if unknown or decoded."""
    arguments = next((tile[3] for tile in getattr(image, "tile", [])), "")
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments or "")


def _is_deep_colour(image: Image.Image) -> bool:
    """Whether an opened, undecoded image has 16 bits a channel, of which Pillow keeps the upper eight."""
    return len(image.getbands()) > 1 and ";16" in _layout(image)


def values_of(image: Image.Image) -> NDArray[Any]:
    """The values of an opened image of more than 8 bits, (H, W) or (H, W, channels), in their own range.

    Raises:
        ValueError: It has 16 bits a channel, of which Pillow cannot read the lower eight.
    """
    if not _is_deep_colour(image):
        return np.asarray(image)
    stream = getattr(image, "fp", None)
    if stream is None:
        raise ValueError("the lower eight bits of its values cannot be read")
    stream.seek(0)
    encoded = stream.read()
    with Image.open(io.BytesIO(encoded)) as upper, Image.open(io.BytesIO(encoded)) as lower:
        _swap_bytes(lower)
        try:
            low = np.asarray(lower).astype(np.uint16)
        except (ValueError, OSError) as error:  # a layout that Pillow knows in one order of bytes only
            raise ValueError(f"only the upper eight bits of {_layout(upper)} can be read; save it as 16-bit RGB") from error
        return np.asarray(upper).astype(np.uint16) * 256 + low


def _swap_bytes(image: Image.Image) -> None:
    """Make Pillow, which keeps the first of the two bytes of a value that matters most, keep the other one."""
    natives = {"little": "B", "big": "L"}
    layout = _layout(image)
    swapped = layout[:-1] + {"B": "L", "L": "B", "N": natives[sys.byteorder]}[layout[-1]]
    tiles = []
    for tile in image.tile:  # type: ignore[attr-defined]
        arguments = (swapped, *tile[3][1:]) if isinstance(tile[3], tuple) else swapped
        tiles.append(type(tile)(*tile[:3], arguments) if hasattr(tile, "_fields") else (*tile[:3], arguments))
    image.tile = tiles  # type: ignore[attr-defined]


def to_rgb(image: Image.Image, value_range: ValueRange | None = None) -> Image.Image:
    """Decode to 8-bit RGB: rotated by EXIF, transparency over white, values of more than 8 bits scaled to 0 to 255.

    Args:
        image: The opened image.
        value_range: The values that become 0 and 255, where an image has more than 8 bits; what lies outside is clipped. None
            is the range of the type: 0 to 65,535 for integers; 0 to 1 for floats of at most 1, and 0 to 255 for others.
    """
    exif = image.info.get("exif")
    if value_range is not None and _is_deep_colour(image):
        image = _scaled(values_of(image), value_range)
        if exif is not None:
            image.info["exif"] = exif
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        values = np.asarray(image)
        return _scaled(values, value_range or ((0.0, 1.0) if values.max(initial=0.0) <= 1.0 else (0.0, 255.0))).convert("RGB")
    if image.mode.startswith("I"):
        return _scaled(np.asarray(image), value_range or TYPE_RANGE).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def to_view(image: Image.Image, value_range: ValueRange | None = None) -> Image.Image:
    """Decode to 8-bit RGB to look at: as `to_rgb`, but values of more than 8 bits have the range of the image itself.

    Args:
        image: The opened image.
        value_range: The range to use instead.
    """
    if value_range is None and kind_of(image) != EIGHT_BIT:
        with suppress(ValueError):
            values = values_of(image)
            finite = values[np.isfinite(values)]
            if finite.size and finite.min() < finite.max():
                value_range = float(finite.min()), float(finite.max())
    return to_rgb(image, value_range)


def _scaled(values: NDArray[Any], value_range: ValueRange) -> Image.Image:
    """An 8-bit image of which 0 is the lower and 255 the upper end of a range; values that are no numbers become 0."""
    low, high = value_range
    exact = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
    scaled = np.clip((exact - low) * (255.0 / (high - low)), 0, 255).round().astype(np.uint8)
    if scaled.ndim == 3 and scaled.shape[2] in (2, 4):  # opacity has the range of its type
        scaled[..., -1] = values[..., -1] >> 8
    return Image.fromarray(scaled)


_LONGEST_RATIO = 16


def prepare(image: Image.Image, geometry: Geometry, value_range: ValueRange | None = None) -> Image.Image:
    """Resize the shorter side of an image and crop its centre, as torchvision's presets do.

    Args:
        image: The opened image.
        geometry: Size, crop and interpolation.
        value_range: See `to_rgb`.

    Returns:
        An RGB image of the size of the crop.
    """
    rgb = to_rgb(image, value_range)
    height, width = height_and_width(geometry.crop)
    if rgb.size == (width, height) and geometry.resize == geometry.crop:
        return rgb
    # takes seconds to import, and is not needed where images are cached or have the right size
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    longest = math.ceil(_LONGEST_RATIO * min(rgb.size) * max(height / width, width / height))
    if max(rgb.size) > longest:
        # resizing a very long image could take gigabytes of memory, and only its centre is kept
        rgb = functional.center_crop(rgb, [min(side, longest) for side in (rgb.height, rgb.width)])
    resized = functional.resize(rgb, _resized(rgb, geometry.resize), InterpolationMode(geometry.interpolation))
    cropped: Image.Image = functional.center_crop(resized, [height, width])
    return cropped


def _resized(image: Image.Image, resize: Sides) -> list[int]:
    """The size to which an image is resized with its proportions kept, as torchvision takes it."""
    if isinstance(resize, int):
        return [resize]
    scale = max(resize[0] / image.height, resize[1] / image.width)
    return [max(least, round(side * scale)) for least, side in zip(resize, (image.height, image.width), strict=True)]
