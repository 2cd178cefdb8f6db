"""Opens, converts, resizes and crops single images."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

# suffixes of image files: torchvision's IMG_EXTENSIONS, copied because its import takes two seconds
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


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
    def resize(self) -> int:
        """Pixels to which the shorter side is resized."""

    @property
    def crop(self) -> int:
        """Side of the centre crop in pixels."""

    @property
    def interpolation(self) -> str:
        """PIL's name of the interpolation: bilinear or bicubic."""

    def scaled_to(self, image_size: int | None) -> Geometry:
        """Return the geometry for another image size in pixels; None changes nothing."""


def open_image(path: Path) -> Image.Image:
    """Open an image without decoding it.

    Args:
        path: The image file.

    Raises:
        ValueError: It would decode to more pixels than `Image.MAX_IMAGE_PIXELS`.
        OSError: The file is missing or not an image.
    """
    image = Image.open(path)
    # Pillow only warns, and a filter may suppress the warning
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        image.close()
        raise ValueError(f"{image.width}×{image.height} pixels are more than the {Image.MAX_IMAGE_PIXELS:,} allowed")
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Decode to 8-bit RGB: rotated by EXIF, transparency over white, 16-bit and float values scaled to 0 to 255."""
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        values = np.asarray(image).astype(np.float64)
        scale = 255.0 if values.max(initial=0.0) <= 1.0 else 1.0
        return Image.fromarray(np.clip(values * scale, 0, 255).round().astype(np.uint8)).convert("RGB")
    if image.mode.startswith("I;16") or image.mode == "I":
        values = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.clip(values / 257.0, 0, 255).round().astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


_LONGEST_RATIO = 16


def prepare(image: Image.Image, geometry: Geometry) -> Image.Image:
    """Resize the shorter side of an image and crop its centre, as torchvision's presets do.

    Args:
        image: The opened image.
        geometry: Size, crop and interpolation.

    Returns:
        An RGB image of crop × crop pixels.
    """
    rgb = to_rgb(image)
    if rgb.size == (geometry.crop, geometry.crop) and geometry.resize == geometry.crop:
        return rgb
    # takes seconds to import, and is not needed where images are cached or have the right size
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    short = min(rgb.size)
    if max(rgb.size) > _LONGEST_RATIO * short:
        # resizing a very long image could take gigabytes of memory, and only its centre is kept
        rgb = functional.center_crop(rgb, [min(side, _LONGEST_RATIO * short) for side in (rgb.height, rgb.width)])
    resized = functional.resize(rgb, [geometry.resize], InterpolationMode(geometry.interpolation))
    cropped: Image.Image = functional.center_crop(resized, [geometry.crop, geometry.crop])
    return cropped
