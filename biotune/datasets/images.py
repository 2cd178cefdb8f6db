"""One picture: opened as a viewer shows it, and brought to the size and crop that a network takes."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from biotune.backbones.network import Preprocessing

# a picture of this many pixels is refused as a decompression bomb rather than warned about
warnings.simplefilter("error", Image.DecompressionBombWarning)


def open_picture(path: Path) -> Image.Image:
    """Open a picture without decoding it.

    Raises:
        ValueError: It would decode to more pixels than `Image.MAX_IMAGE_PIXELS`.
        OSError: It is no picture, or not there.
    """
    picture = Image.open(path)
    # said once more: the filter above is the process's, and may have been changed
    if Image.MAX_IMAGE_PIXELS is not None and picture.width * picture.height > Image.MAX_IMAGE_PIXELS:
        picture.close()
        raise ValueError(f"{picture.width}×{picture.height} pixels are more than the {Image.MAX_IMAGE_PIXELS:,} allowed")
    return picture


def to_rgb(picture: Image.Image) -> Image.Image:
    """Decode to 8-bit RGB as a viewer shows it: turned by EXIF, transparency over white, other ranges scaled."""
    picture = ImageOps.exif_transpose(picture)
    if picture.mode == "F":
        values = np.asarray(picture).astype(np.float64)
        scale = 255.0 if values.max(initial=0.0) <= 1.0 else 1.0
        return Image.fromarray(np.clip(values * scale, 0, 255).round().astype(np.uint8)).convert("RGB")
    if picture.mode.startswith("I;16") or picture.mode == "I":
        values = np.asarray(picture).astype(np.float64)
        return Image.fromarray(np.clip(values / 257.0, 0, 255).round().astype(np.uint8)).convert("RGB")
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


_LONGEST_RATIO = 16


def prepare(picture: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Resize the shorter side and crop the centre of one picture, as torchvision's presets do.

    Args:
        picture: As PIL opened it.
        preprocessing: Sizes and filter.

    Returns:
        An RGB picture of crop × crop pixels.
    """
    rgb = to_rgb(picture)
    if rgb.size == (preprocessing.crop, preprocessing.crop) and preprocessing.resize == preprocessing.crop:
        return rgb
    # seconds to import, and not needed where the cache has the pictures or they are of the right size
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional

    short = min(rgb.size)
    if max(rgb.size) > _LONGEST_RATIO * short:
        # resizing all of a very long picture could take gigabytes, and only its centre is kept
        rgb = functional.center_crop(rgb, [min(side, _LONGEST_RATIO * short) for side in (rgb.height, rgb.width)])
    resized = functional.resize(rgb, [preprocessing.resize], InterpolationMode(preprocessing.interpolation))
    cropped: Image.Image = functional.center_crop(resized, [preprocessing.crop, preprocessing.crop])
    return cropped
