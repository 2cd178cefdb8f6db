"""Loader of CUB-200-2011 in its official format."""

from pathlib import Path

import numpy as np

from biotune.config.sections import DatasetConfig
from biotune.datasets.images import open_image
from biotune.datasets.loaders.download import fetch_archive
from biotune.datasets.loaders.files import fingerprint, local_root
from biotune.datasets.source import Source
from biotune.errors import DataError

FOLDER = "CUB_200_2011"
URL = "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz"
MD5 = "97eceeb196236b17998738112f37df78"
_LAYOUT = f"the folder that holds {FOLDER} (images.txt, image_class_labels.txt, train_test_split.txt, classes.txt, images/)"


def load(config: DatasetConfig) -> Source:
    """Read the official lists: 200 classes, 5,994 training and 5,794 test images.

    Args:
        config: The dataset's config.

    Returns:
        The labelled images with the official split.

    Raises:
        DataError: The copy is missing, incomplete or malformed.
    """
    if config.download and config.root is not None:
        target = Path(config.root).expanduser()
        if not (target / FOLDER).is_dir() and not (target / "images.txt").is_file():
            fetch_archive(URL, MD5, target, FOLDER)
    root = local_root(config, _LAYOUT)
    if not (root / "images.txt").is_file():
        root = root / FOLDER
    if not (root / "images.txt").is_file():
        raise DataError(
            f"dataset.root={config.root}: holds no {FOLDER}/images.txt. Put {_LAYOUT} there, or set dataset.download=true."
        )
    paths = _table(root / "images.txt")
    labels = _table(root / "image_class_labels.txt")
    training = _table(root / "train_test_split.txt")
    classes = _table(root / "classes.txt")
    ids = sorted(paths, key=int)
    for table, name in ((labels, "image_class_labels.txt"), (training, "train_test_split.txt")):
        if table.keys() != paths.keys():
            odd = min(table.keys() ^ paths.keys(), key=int)
            raise DataError(f"{root / name}: image id {odd} is not in both this file and images.txt.")
    if stray := sorted(set(training.values()) - {"0", "1"}):
        raise DataError(f"{root / 'train_test_split.txt'}: {stray[0]} is neither 1 (training) nor 0 (test).")
    class_ids = sorted(classes, key=int)
    if unknown := sorted(set(labels.values()) - classes.keys()):
        raise DataError(f"{root / 'image_class_labels.txt'}: class id {unknown[0]} is not in classes.txt.")
    names = tuple(f"images/{paths[id_]}" for id_ in ids)
    for name in names:
        if not (root / name).is_file():
            raise DataError(f"{root / name}: listed in images.txt but missing; the copy is incomplete.")
    position = {class_id: index for index, class_id in enumerate(class_ids)}
    return Source(
        name=config.name,
        classes=tuple(classes[class_id] for class_id in class_ids),
        labels=np.array([position[labels[id_]] for id_ in ids], dtype=np.int64),
        splits=np.array(["train" if training[id_] == "1" else "test" for id_ in ids], dtype="<U5"),
        names=names,
        read=lambda index: open_image(root / names[index]),
        fingerprint=fingerprint(root, names),
    )


def _table(path: Path) -> dict[str, str]:
    """The values of a file of `id value` lines, by id."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read; the copy of CUB-200-2011 is incomplete.") from error
    rows: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        id_, _, value = line.strip().partition(" ")
        if not (id_.isascii() and id_.isdigit()) or not value:
            raise DataError(f"{path}: line {number} is not 'id value'.")
        if id_ in rows:
            raise DataError(f"{path}: line {number} repeats id {id_}.")
        rows[id_] = value
    return rows
