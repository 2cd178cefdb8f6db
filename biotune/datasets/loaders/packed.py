"""Reads datasets packed into a few large files: mapped into memory where the format allows it, else read when needed.

Implements the formats; the callers assign files to datasets and splits.
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
        labels: (N,) one label per image.
        pixels: Returns (N, H, W) grey or (N, H, W, 3) RGB uint8; called when the first image is read.
    """

    labels: Indices
    pixels: Callable[[], Pixels]


def source_of(name: str, classes: Sequence[str], root: Path, files: Sequence[str], packs: Mapping[str, Pack]) -> Source:
    """Build a dataset from the packs of its splits.

    Args:
        name: The dataset's name.
        classes: Names of the classes.
        root: Folder of the local copy.
        files: Paths of the files that its fingerprint covers, relative to the root.
        packs: Split → its images.

    Returns:
        The labelled images, split by split.

    Raises:
        ValueError: A label has no class, or a split's labels and images differ in number.
    """
    labels = np.concatenate([pack.labels for pack in packs.values()]).astype(np.int64)
    if labels.size and not 0 <= labels.min() <= labels.max() < len(classes):
        raise ValueError(f"a label lies outside the {len(classes)} classes")
    whereabouts = [(split, row) for split, pack in packs.items() for row in range(len(pack.labels))]

    @cache
    def pixels(split: str) -> Pixels:
        """The (N, H, W) or (N, H, W, 3) images of a split, opened once."""
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
    """Map an IDX file of unsigned bytes into memory, in the shape stated by its header.

    Args:
        path: The file, uncompressed.

    Returns:
        (N,) labels, or (N, H, W) grey pixels; read-only.

    Raises:
        ValueError: The header is invalid, or the file is shorter or longer than the header states.
    """
    with path.open("rb") as file:
        zeros, kind, dimensions = struct.unpack(">HBB", file.read(4).ljust(4, b"\xff"))
        if zeros != 0 or kind != _IDX_UNSIGNED_BYTE or not 1 <= dimensions <= 3:
            raise ValueError(f"{path.name} is not an IDX file of bytes")
        shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions).ljust(4 * dimensions, b"\xff"))
        offset = file.tell()
    if path.stat().st_size != offset + int(np.prod(shape, dtype=np.int64)):
        raise ValueError(f"{path.name} is cut off or too long: {path.stat().st_size} bytes for {shape}")
    return np.memmap(path, dtype=np.uint8, mode="r", offset=offset, shape=shape)


def raw_columns(path: Path, side: int) -> Pixels:
    """Map STL-10's binary file into memory: images as three colour planes, each stored column by column.

    Args:
        path: The file.
        side: Height and width of its images in pixels.

    Returns:
        (N, side, side, 3) RGB pixels; read-only.

    Raises:
        ValueError: The file's size is not a multiple of an image's size.
    """
    if path.stat().st_size == 0 or path.stat().st_size % (3 * side * side):
        raise ValueError(f"{path.name} is cut off: {path.stat().st_size} bytes are not a whole number of images")
    planes = np.memmap(path, dtype=np.uint8, mode="r").reshape(-1, 3, side, side)
    return planes.transpose(0, 3, 2, 1)


def npz_labels(path: Path, name: str) -> NDArray[np.generic]:
    """Read a small array of an npz file.

    Args:
        path: The npz file.
        name: Name of the array.

    Returns:
        The array in its stored shape, such as (N,) or (N, 1) labels.

    Raises:
        ValueError: The array holds pickled objects, which could run code.
        KeyError: No such array.
    """
    with np.load(path, allow_pickle=False) as arrays:
        return np.asarray(arrays[name])


def npz_pixels(path: Path, name: str, scratch: Path) -> Pixels:
    """Map a large array of an npz file into memory; a compressed one is extracted to an unnamed temporary file first.

    Args:
        path: The npz file.
        name: Name of the array.
        scratch: Folder for the temporary file, which disappears with the array.

    Returns:
        The array in its stored shape, (N, H, W) grey or (N, H, W, 3) colour pixels; read-only.

    Raises:
        ValueError: The array is not one of bytes.
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
