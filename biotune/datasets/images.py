"""One image: opened as a viewer shows it, and brought to the size and crop that a network takes."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

# an image of this many pixels is refused as a decompression bomb rather than warned about
warnings.simplefilter("error", Image.DecompressionBombWarning)


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
    # said once more: the filter above is the process's, and may have been changed
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
