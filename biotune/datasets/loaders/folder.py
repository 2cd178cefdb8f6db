"""Loader of the user's images: one folder per class, optionally inside train, val and test folders."""

import os
import unicodedata
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from biotune.config.sections import DatasetConfig
from biotune.datasets.images import IMAGE_SUFFIXES, image_names, is_hidden, open_image
from biotune.datasets.loaders.files import fingerprint, local_root, passed_over
from biotune.datasets.source import SPLITS, Source, split_of
from biotune.errors import DataError

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
    found = {part: _classes(root, place, config) for part, place in (folders or {"": root}).items()}
    found = _spelt_alike(found)
    parts = list(found)
    # where the validation set is held out again, its images are training images too
    training = [part for part in parts if part in ("", "train") or (part == "val" and config.val_from_train)]
    classes = tuple(sorted({name for part in training for name in found[part]}))
    if len(classes) < 2:
        raise DataError(f"dataset.root={config.root}: holds {len(classes)} class folders, needs at least two: {_LAYOUT}.")
    for name in classes:
        if not any(found[part].get(name) for part in training):
            raise DataError(
                f"dataset.root={config.root}: class folder {_shown(root, folders, parts[0], name)} holds no images "
                f"({', '.join(extension[1:] for extension in IMAGE_SUFFIXES)}). Add some, or remove the folder."
            )
    for part in [part for part in parts if part not in training]:
        _check_agreement(config, part, found[part], classes)
    groups = [(part, label, found[part].get(name, ())) for part in parts for label, name in enumerate(classes)]
    sizes = [len(paths) for _, _, paths in groups]
    names = tuple(chain.from_iterable(paths for _, _, paths in groups))
    return Source(
        name=config.name,
        classes=classes,
        labels=np.repeat(np.array([label for _, label, _ in groups], dtype=np.int64), sizes),
        splits=np.repeat(np.array([part for part, _, _ in groups], dtype="<U5"), sizes),
        names=names,
        read=lambda index: open_image(root / names[index]),
        fingerprint=fingerprint(root, names),
        passed_over=partial(passed_over, root, names),
    )


def _spelt_alike(found: dict[str, dict[str, list[str]]]) -> dict[str, dict[str, list[str]]]:
    """The images with every class spelt as in the first split: systems write accents in one code point or in two."""
    spelling = {unicodedata.normalize("NFC", name): name for name in found[next(iter(found))]}
    return {
        part: {spelling.get(unicodedata.normalize("NFC", name), name): images for name, images in own.items()}
        for part, own in found.items()
    }


def _shown(root: Path, folders: dict[str, Path], part: str, name: str) -> Path:
    return (folders.get(part, root) / name).relative_to(root)


def _check_agreement(config: DatasetConfig, part: str, found: dict[str, list[str]], classes: tuple[str, ...]) -> None:
    """Reject a validation or test folder with other classes than the train folder; only the test folder may lack one.

    Raises:
        DataError: With the class and the remedies.
    """
    own = {name for name, images in found.items() if images}
    if strange := sorted(own - set(classes)):
        raise DataError(
            f"dataset.root={config.root}: class {strange[0]} is in {part} but not in train. Move some of its images to "
            f"train, or take its folder out of {part}" + (", or set dataset.val_from_train=true." if part == "val" else ".")
        )
    if part == "val" and (lacking := sorted(set(classes) - own)):
        raise DataError(
            f"dataset.root={config.root}: class {lacking[0]} is in train but not in {part}. Move some of its images to "
            f"{part}, or set dataset.val_from_train=true, which holds the validation set out of the images of both folders."
        )


def _split_folders(root: Path, config: DatasetConfig) -> dict[str, Path]:
    """The folders of the splits by split; a folder with such a name that holds images rather than folders is a class."""
    folders: dict[str, Path] = {}
    for child in _visible(root, config):
        split = split_of(child.name)
        if split is None or not any(inner.is_dir() for inner in _visible(child, config)):
            continue
        if split in folders:
            raise DataError(f"dataset.root={config.root}: {folders[split].name} and {child.name} both mean {split}; keep one.")
        folders[split] = child
    return {split: folders[split] for split in SPLITS if split in folders}


def _visible(folder: Path, config: DatasetConfig) -> list[Path]:
    """The folders in a folder, sorted, without hidden ones."""
    _check_readable(folder, config)
    with os.scandir(folder) as listed:
        names = [entry.name for entry in listed if entry.is_dir() and not is_hidden(entry.name)]
    return sorted(folder / name for name in names)


def _check_readable(folder: Path, config: DatasetConfig) -> None:
    if not os.access(folder, os.R_OK | os.X_OK):
        raise DataError(f"dataset.root={config.root}: {folder} cannot be read (no permission).")


def _classes(root: Path, folder: Path, config: DatasetConfig) -> dict[str, list[str]]:
    """The images of each class folder, relative to the root, sorted; hidden files and other file types are passed over."""
    classes: dict[str, list[str]] = {}
    for child in _visible(folder, config):
        _check_readable(child, config)  # one without read permission must not be reported as one without images
        place = os.path.join(child.relative_to(root), "")
        classes[child.name] = [place + name for name in image_names(child)]
    return classes
