"""Small images inside a page."""

from __future__ import annotations

import base64
import io

from PIL import Image

_SIDE = 112  # pixels, at most


def draft(opened: Image.Image) -> None:
    """Make Pillow decode a large JPEG that was opened at a fraction of its size, enough for a thumbnail."""
    opened.draft("RGB", (2 * _SIDE, 2 * _SIDE))


def thumbnail(image: Image.Image) -> str:
    """A small JPEG of an RGB image, as a data URI."""
    small = image.copy()
    small.thumbnail((_SIDE, _SIDE))
    content = io.BytesIO()
    small.save(content, format="JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode("ascii")
