"""What is known of every dataset beforehand: classes, official counts, size, licence, source, and the files that make a copy.

The one table behind `biotune list datasets`, `biotune data check` and the messages about missing data. Opens no image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from biotune.config.schema import DatasetConfig


@dataclass(frozen=True)
class Facts:
    """One dataset as its authors published it.

    Attributes:
        loader: Name of its loader.
        classes: Number of classes; None where the user's images decide.
        train: Official number of training images, or of all where there is no split.
        val: Official number of validation images; None where they are held out from the training images.
        test: Official number of test images; None where they are held out.
        size: Size of a ready copy on disk, about.
        licence: What its authors say about use.
        source: Where it comes from.
        needs: Files and folders below dataset.root that make a copy.
        fetched: Whether dataset.download=true can fetch it.
    """

    loader: str
    classes: int | None
    train: int | None
    val: int | None
    test: int | None
    size: str
    licence: str
    source: str
    needs: tuple[str, ...] = ()
    fetched: bool = True

    def missing(self, root: Path) -> list[str]:
        """What a copy lacks, in the order of `needs`."""
        return [name for name in self.needs if not (root / name).exists()]


_NON_COMMERCIAL = "non-commercial research and education"
_UNSTATED = "none stated; used for research"

CATALOGUE: dict[str, Facts] = {
    "cub": Facts(
        "cub",
        200,
        5994,
        None,
        5794,
        "1.2 GB",
        f"{_NON_COMMERCIAL}; images belong to their photographers",
        "data.caltech.edu/records/65de6-vp158",
        tuple(
            f"CUB_200_2011/{name}"
            for name in ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt", "images")
        ),
    ),
    "flowers102": Facts(
        "torchvision",
        102,
        1020,
        1020,
        6149,
        "350 MB",
        _UNSTATED,
        "www.robots.ox.ac.uk/~vgg/data/flowers/102",
        ("flowers-102/jpg", "flowers-102/imagelabels.mat", "flowers-102/setid.mat"),
    ),
    "fgvc_aircraft": Facts(
        "torchvision",
        100,
        3334,
        3333,
        3333,
        "2.8 GB",
        "non-commercial research",
        "www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft",
        ("fgvc-aircraft-2013b/data/images", "fgvc-aircraft-2013b/data/variants.txt"),
    ),
    "dtd": Facts(
        "torchvision",
        47,
        1880,
        1880,
        1880,
        "630 MB",
        "research",
        "www.robots.ox.ac.uk/~vgg/data/dtd",
        ("dtd/dtd/images", "dtd/dtd/labels"),
    ),
    "isic2020": Facts(
        "isic2020",
        2,
        32701,  # 33,126 less 425 duplicates
        None,
        None,
        "23 GB",
        "CC BY-NC 4.0",
        "challenge2020.isic-archive.com",
        ("ISIC_2020_Training_GroundTruth.csv", "ISIC_2020_Training_Duplicates.csv", "train"),
        fetched=False,
    ),
    "cifar10": Facts(
        "torchvision",
        10,
        50000,
        None,
        10000,
        "180 MB",
        _UNSTATED,
        "www.cs.toronto.edu/~kriz/cifar.html",
        (
            *(f"cifar-10-batches-py/data_batch_{number}" for number in range(1, 6)),
            "cifar-10-batches-py/test_batch",
            "cifar-10-batches-py/batches.meta",
        ),
    ),
    "cifar100": Facts(
        "torchvision",
        100,
        50000,
        None,
        10000,
        "180 MB",
        _UNSTATED,
        "www.cs.toronto.edu/~kriz/cifar.html",
        tuple(f"cifar-100-python/{name}" for name in ("train", "test", "meta")),
    ),
    "stl10": Facts(
        "torchvision",
        10,
        5000,
        None,
        8000,
        "2.9 GB",
        _UNSTATED,
        "ai.stanford.edu/~acoates/stl10",
        tuple(f"stl10_binary/{name}" for name in ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin")),
    ),
    "mnist": Facts(
        "torchvision",
        10,
        60000,
        None,
        10000,
        "55 MB",
        "CC BY-SA 3.0",
        "yann.lecun.com/exdb/mnist",
        tuple(
            f"MNIST/raw/{name}"
            for name in (
                "train-images-idx3-ubyte",
                "train-labels-idx1-ubyte",
                "t10k-images-idx3-ubyte",
                "t10k-labels-idx1-ubyte",
            )
        ),
    ),
    "usps": Facts(
        "torchvision",
        10,
        7291,
        None,
        2007,
        "9 MB",
        _UNSTATED,
        "www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps",
        ("usps.bz2", "usps.t.bz2"),
    ),
    "svhn": Facts(
        "torchvision",
        10,
        73257,
        None,
        26032,
        "250 MB",
        "non-commercial use",
        "ufldl.stanford.edu/housenumbers",
        ("train_32x32.mat", "test_32x32.mat"),
    ),
    "oxford_pets": Facts(
        "torchvision",
        37,
        3680,
        None,
        3669,
        "830 MB",
        "CC BY-SA 4.0; images belong to their owners",
        "www.robots.ox.ac.uk/~vgg/data/pets",
        ("oxford-iiit-pet/images", "oxford-iiit-pet/annotations/trainval.txt", "oxford-iiit-pet/annotations/test.txt"),
    ),
    "food101": Facts(
        "torchvision",
        101,
        75750,
        None,
        25250,
        "5.2 GB",
        "research; images come from foodspotting.com",
        "data.vision.ee.ethz.ch/cvl/datasets_extra/food-101",
        ("food-101/images", "food-101/meta/train.json", "food-101/meta/test.json"),
    ),
    "eurosat": Facts("torchvision", 10, 27000, None, None, "100 MB", "MIT", "github.com/phelber/eurosat", ("eurosat/2750",)),
    "stanford_cars": Facts(
        "torchvision",
        196,
        8144,
        None,
        8041,
        "2 GB",
        "non-commercial research",
        "gone: ai.stanford.edu/~jkrause/cars; local copies only",
        tuple(
            f"stanford_cars/{name}"
            for name in (
                "devkit/cars_meta.mat",
                "devkit/cars_train_annos.mat",
                "cars_test_annos_withlabels.mat",
                "cars_train",
                "cars_test",
            )
        ),
        fetched=False,
    ),
    # the facts of dermamnist at 28 pixels; `facts_of` asks the package about the others
    "medmnist": Facts(
        "medmnist", 7, 7007, 1003, 2005, "20 MB", "CC BY-NC 4.0", "zenodo.org/records/10519652", ("dermamnist.npz",)
    ),
    "folder": Facts("folder", None, None, None, None, "", "", "your own images", fetched=False),
    "digits": Facts("digits", 10, 200, 200, 1397, "bundled", "CC BY 4.0", "scikit-learn", fetched=False),
}
_AIRCRAFT_CLASSES = {"variant": 100, "family": 70, "manufacturer": 30}


def facts_of(config: DatasetConfig) -> Facts | None:
    """What is known of the dataset that a config asks for; None for a user's own.

    Raises:
        DataError: The facts stand in a package that is not installed.
    """
    if config.loader == "medmnist":
        from biotune.datasets.loaders.medmnist import facts

        return facts(config)
    known = CATALOGUE.get(config.name)
    if known is None or known.loader != config.loader:
        return None
    if config.name == "fgvc_aircraft" and config.annotation is not None:
        return replace(known, classes=_AIRCRAFT_CLASSES[config.annotation])
    return known
