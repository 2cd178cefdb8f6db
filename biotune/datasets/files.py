"""Pictures in files: opening them as a viewer shows them, local roots, and fingerprints."""

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from biotune.config import DatasetConfig
from biotune.errors import DataError

# a picture of this many pixels is refused as a decompression bomb rather than warned about
warnings.simplefilter("error", Image.DecompressionBombWarning)


def local_root(config: DatasetConfig, what: str) -> Path:
    """The folder of the local copy.

    Raises:
        DataError: dataset.root is not set or no folder.
    """
    if config.root is None:
        raise DataError(f"dataset.root: must be set for dataset={config.name}: {what}.")
    root = Path(config.root).expanduser()
    if not root.is_dir():
        raise DataError(f"dataset.root={config.root}: no such folder; it should be {what}.")
    return root


def fingerprint(root: Path, names: Sequence[str]) -> str:
    """A hash of the root's path and the names, sizes and times of files below it.

    The time of the last change of a file's entry counts too: archives that are made to be reproducible unpack into
    files of equal names, sizes and modification times whatever they hold.
    """
    digest = hashlib.sha256(f"{root.resolve()}\n".encode(errors="surrogateescape"))
    for name in names:
        facts = (root / name).stat()
        digest.update(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\0{facts.st_ctime_ns}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


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
