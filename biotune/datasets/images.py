"""One image: opened as a viewer shows it, and brought to the size and crop that a network takes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

# what counts as an image below a folder: torchvision's IMG_EXTENSIONS, which takes two seconds to import
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


@contextmanager
def bombs_refused() -> Iterator[None]:
    """While images are decoded, whatever opens them: one with too many pixels is an error and not a warning of Pillow's.

    Filters that the user has set come first. They are the process's, so this one is set around a whole loop over threads, and
    never within one of them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning, append=True)
        yield


class Geometry(Protocol):
    """The size and crop that a network takes: what datasets need to know of its geometry."""

    @property
    def resize(self) -> int:
        """The shorter side is resized to so many pixels."""

    @property
    def crop(self) -> int:
        """Side of the centre crop in pixels."""

    @property
    def interpolation(self) -> str:
        """PIL's name of the filter: bilinear or bicubic."""

    def scaled_to(self, image_size: int | None) -> Geometry:
        """The same for another image size; None changes nothing."""


def open_image(path: Path) -> Image.Image:
    """Open an image without decoding it.

    Raises:
        ValueError: It would decode to more pixels than `Image.MAX_IMAGE_PIXELS`.
        OSError: It is no image, or not there.
    """
    image = Image.open(path)
    # Pillow only warns, and a filter may silence it
    if Image.MAX_IMAGE_PIXELS is not None and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        image.close()
        raise ValueError(f"{image.width}×{image.height} pixels are more than the {Image.MAX_IMAGE_PIXELS:,} allowed")
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """Decode to 8-bit RGB as a viewer shows it: turned by EXIF, transparency over white, other ranges scaled."""
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
    """Resize the shorter side and crop the centre of one image, as torchvision's presets do.

    Args:
        image: As PIL opened it.
        geometry: Sizes and filter.

    Returns:
        An RGB image of crop × crop pixels.
    """
    rgb = to_rgb(image)
    if rgb.size == (geometry.crop, geometry.crop) and geometry.resize == geometry.crop:
        return rgb
    # seconds to import, and not needed where the cache has the images or they are of the right size
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    short = min(rgb.size)
    if max(rgb.size) > _LONGEST_RATIO * short:
        # resizing all of a very long image could take gigabytes, and only its centre is kept
        rgb = functional.center_crop(rgb, [min(side, _LONGEST_RATIO * short) for side in (rgb.height, rgb.width)])
    resized = functional.resize(rgb, [geometry.resize], InterpolationMode(geometry.interpolation))
    cropped: Image.Image = functional.center_crop(resized, [geometry.crop, geometry.crop])
    return cropped
