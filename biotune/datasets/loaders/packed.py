"""Datasets that come as a few big files of pixels: read in place where the format allows it, else when first needed.

Knows the formats, not the datasets: which file belongs to which split is the caller's business.
"""

from __future__ import annotations

import shutil
import struct
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from biotune.datasets.loaders.files import fingerprint
from biotune.datasets.source import Indices, Source

Pixels = NDArray[np.uint8]
_IDX_UNSIGNED_BYTE = 8
_ZIP_LOCAL_HEADER = 30


@dataclass(frozen=True)
class Pack:
    """The images of one split.

    Attributes:
        labels: (N,) a label an image.
        pixels: Gives (N, H, W) or (N, H, W, 3) uint8; called when the first image is read.
    """

    labels: Indices
    pixels: Callable[[], Pixels]


def source_of(name: str, classes: Sequence[str], root: Path, files: Sequence[str], packs: Mapping[str, Pack]) -> Source:
    """A dataset from the packs of its splits.

    Args:
        name: The dataset's name.
        classes: Names of the classes.
        root: The local copy.
        files: What its fingerprint is made of, below the root.
        packs: Split → images.

    Raises:
        ValueError: A label is no class, or a split's labels and images differ in number.
    """
    labels = np.concatenate([pack.labels for pack in packs.values()]).astype(np.int64)
    if labels.size and not 0 <= labels.min() <= labels.max() < len(classes):
        raise ValueError(f"a label lies outside the {len(classes)} classes")
    whereabouts = [(split, row) for split, pack in packs.items() for row in range(len(pack.labels))]

    @cache
    def pixels(split: str) -> Pixels:
        """(N, H, W) or (N, H, W, 3) images of a split, opened once."""
        found = packs[split].pixels()
        if len(found) != len(packs[split].labels):
            raise ValueError(f"{len(found)} images but {len(packs[split].labels)} labels in {split}")
        return found

    def read(index: int) -> Image.Image:
        split, row = whereabouts[index]
        return Image.fromarray(np.ascontiguousarray(pixels(split)[row]))

    return Source(
        name=name,
        classes=tuple(classes),
        labels=labels,
        splits=np.array([split for split, _ in whereabouts], dtype="<U5"),
        names=tuple(f"{split}/{row}" for split, row in whereabouts),
        read=read,
        fingerprint=fingerprint(root, files),
    )


def idx(path: Path) -> Pixels:
    """An IDX file of unsigned bytes, mapped into memory in the shape its header states.

    Args:
        path: The file, uncompressed.

    Returns:
        (N,) labels, or (N, H, W) grey pixels; read-only.

    Raises:
        ValueError: The header is none, or the file is shorter or longer than it says.
    """
    with path.open("rb") as file:
        zeros, kind, dimensions = struct.unpack(">HBB", file.read(4).ljust(4, b"\xff"))
        if zeros != 0 or kind != _IDX_UNSIGNED_BYTE or not 1 <= dimensions <= 3:
            raise ValueError(f"{path.name} is no IDX file of bytes")
        shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions).ljust(4 * dimensions, b"\xff"))
        offset = file.tell()
    if path.stat().st_size != offset + int(np.prod(shape, dtype=np.int64)):
        raise ValueError(f"{path.name} is cut off or too long: {path.stat().st_size} bytes for {shape}")
    return np.memmap(path, dtype=np.uint8, mode="r", offset=offset, shape=shape)


def raw_columns(path: Path, side: int) -> Pixels:
    """STL-10's binary: images as three planes, each column by column; mapped into memory as (N, side, side, 3).

    Args:
        path: The file.
        side: Height and width of its images in pixels.

    Raises:
        ValueError: The file does not hold whole images.
    """
    if path.stat().st_size == 0 or path.stat().st_size % (3 * side * side):
        raise ValueError(f"{path.name} is cut off: {path.stat().st_size} bytes are no whole number of images")
    planes = np.memmap(path, dtype=np.uint8, mode="r").reshape(-1, 3, side, side)
    return planes.transpose(0, 3, 2, 1)


def npz_labels(path: Path, name: str) -> NDArray[np.generic]:
    """A small array of an npz file in its own shape, such as (N,) or (N, 1) labels.

    Raises:
        ValueError: It holds objects, which would be code.
        KeyError: No such array.
    """
    with np.load(path, allow_pickle=False) as arrays:
        return np.asarray(arrays[name])


def npz_pixels(path: Path, name: str, scratch: Path) -> Pixels:
    """A big array of an npz file, mapped into memory; a compressed one through a nameless file that goes with the array.

    Args:
        path: The npz file.
        name: Name of the array.
        scratch: Folder for the nameless file.

    Returns:
        The array in its own shape, (N, H, W) grey or (N, H, W, 3) colour pixels; read-only.

    Raises:
        ValueError: It is no array of bytes.
        KeyError: No such array.
    """
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(f"{name}.npy")
        if member.compress_type == zipfile.ZIP_STORED:
            file = path.open("rb")
            file.seek(member.header_offset)
            lengths = struct.unpack("<HH", file.read(_ZIP_LOCAL_HEADER)[26:])
            file.seek(member.header_offset + _ZIP_LOCAL_HEADER + sum(lengths))
        else:
            scratch.mkdir(parents=True, exist_ok=True)
            file = tempfile.TemporaryFile(dir=scratch)  # type: ignore[assignment]  # noqa: SIM115  the mapping outlives it
            with archive.open(member) as packed:
                shutil.copyfileobj(packed, file, 1 << 20)
            file.seek(0)
    with file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = header(file)
        if dtype != np.uint8:
            raise ValueError(f"{name} holds {dtype}, not bytes")
        return np.memmap(file, dtype=np.uint8, mode="r", offset=file.tell(), shape=shape, order="F" if fortran else "C")
