"""Loader of the user's images: one folder per class, optionally inside train, val and test folders."""

import os
from pathlib import Path

import numpy as np

from biotune.config.sections import DatasetConfig
from biotune.datasets.images import IMAGE_SUFFIXES, open_image
from biotune.datasets.loaders.files import fingerprint, local_root
from biotune.datasets.source import SPLITS, Source
from biotune.errors import DataError

_SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_LAYOUT = "a folder of images with one folder per class, or train, val and test folders of these"


def load(config: DatasetConfig) -> Source:
    """Find the images below `dataset.root`.

    Args:
        config: The dataset's config.

    Returns:
        The labelled images, with the split of the folders where there are any.

    Raises:
        DataError: There is no root or no class, a class has no images, or the splits differ in their classes.
    """
    root = local_root(config, _LAYOUT)
    folders = _split_folders(root, config)
    if folders and "train" not in folders:
        raise DataError(f"dataset.root={config.root}: has a {next(iter(folders.values())).name} folder but no train folder.")
    found = {part: _classes(place, config) for part, place in (folders or {"": root}).items()}
    parts = list(found)
    classes = tuple(sorted(found[parts[0]]))
    if len(classes) < 2:
        raise DataError(f"dataset.root={config.root}: holds {len(classes)} class folders, needs at least two: {_LAYOUT}.")
    for part in parts[1:]:
        if odd := sorted(found[part].keys() ^ set(classes)):
            has, lacks = (part, "train") if odd[0] in found[part] else ("train", part)
            raise DataError(f"dataset.root={config.root}: class {odd[0]} is in {has} but not in {lacks}.")
    rows = [
        (str(path.relative_to(root)), classes.index(name), part)
        for part in parts
        for name in classes
        for path in found[part][name]
    ]
    names = tuple(row[0] for row in rows)
    return Source(
        name=config.name,
        classes=classes,
        labels=np.array([row[1] for row in rows], dtype=np.int64),
        splits=np.array([row[2] for row in rows], dtype="<U5"),
        names=names,
        read=lambda index: open_image(root / names[index]),
        fingerprint=fingerprint(root, names),
    )


def _split_folders(root: Path, config: DatasetConfig) -> dict[str, Path]:
    """The folders of the splits by split; a folder with such a name that holds images rather than folders is a class."""
    folders: dict[str, Path] = {}
    for child in _visible(root, config):
        split = _SPLIT_NAMES.get(child.name.lower())
        if split is None or not any(inner.is_dir() for inner in _visible(child, config)):
            continue
        if split in folders:
            raise DataError(f"dataset.root={config.root}: {folders[split].name} and {child.name} both mean {split}; keep one.")
        folders[split] = child
    return {split: folders[split] for split in SPLITS if split in folders}


def _visible(folder: Path, config: DatasetConfig) -> list[Path]:
    """The folders in a folder, sorted, without hidden ones."""
    if not os.access(folder, os.R_OK | os.X_OK):
        raise DataError(f"dataset.root={config.root}: {folder} cannot be read (no permission).")
    return [child for child in sorted(folder.iterdir()) if child.is_dir() and not child.name.startswith(".")]


def _classes(folder: Path, config: DatasetConfig) -> dict[str, list[Path]]:
    """The images of each class folder, sorted by path; hidden files and other file types are ignored."""
    classes: dict[str, list[Path]] = {}
    for child in _visible(folder, config):
        _visible(child, config)  # a class folder without read permission must not be reported as one without images
        classes[child.name] = sorted(
            path
            for path in child.rglob("*")
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not path.name.startswith(".")
        )
        if not classes[child.name]:
            raise DataError(
                f"dataset.root={config.root}: class folder {child.relative_to(Path(str(config.root)).expanduser())} holds no "
                f"images ({', '.join(extension[1:] for extension in IMAGE_SUFFIXES)})."
            )
    return classes
