"""The facts of every dataset: classes, official counts, size, licence, source, and the files of a complete copy.

`biotune list datasets`, `biotune data check` and the messages about missing data read this table. Opens no image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from biotune.config.sections import DatasetConfig


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One dataset as its authors published it.

    Attributes:
        loader: Name of its loader.
        classes: Number of classes; None where it depends on the user's images.
        train: Official number of training images, or of all images where there is no split.
        val: Official number of validation images; None where they are held out from the training images.
        test: Official number of test images; None where they are held out from all images.
        size: Approximate size of a complete copy on disk.
        licence: The authors' terms of use.
        source: Address of its origin.
        needs: Files and folders of a complete copy, below dataset.root.
        fetched: Whether dataset.download=true can download it.
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
        """Return the files and folders that a copy lacks, in the order of `needs`."""
        return [name for name in self.needs if not (root / name).exists()]


_NON_COMMERCIAL = "non-commercial research and education"
_UNSTATED = "none stated; used for research"


def _of_ones_own(loader: str, source: str = "your own images") -> Facts:
    """Images of the user, of which nothing is known beforehand."""
    return Facts(
        loader=loader, classes=None, train=None, val=None, test=None, size="", licence="", source=source, fetched=False
    )


CATALOGUE: dict[str, Facts] = {
    "cub": Facts(
        loader="cub",
        classes=200,
        train=5994,
        val=None,
        test=5794,
        size="1.2 GB",
        licence=f"{_NON_COMMERCIAL}; images belong to their photographers",
        source="data.caltech.edu/records/65de6-vp158",
        needs=tuple(
            f"CUB_200_2011/{name}"
            for name in ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt", "images")
        ),
    ),
    "flowers102": Facts(
        loader="torchvision",
        classes=102,
        train=1020,
        val=1020,
        test=6149,
        size="350 MB",
        licence=_UNSTATED,
        source="www.robots.ox.ac.uk/~vgg/data/flowers/102",
        needs=("flowers-102/jpg", "flowers-102/imagelabels.mat", "flowers-102/setid.mat"),
    ),
    "fgvc_aircraft": Facts(
        loader="torchvision",
        classes=100,
        train=3334,
        val=3333,
        test=3333,
        size="2.8 GB",
        licence="non-commercial research",
        source="www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft",
        needs=("fgvc-aircraft-2013b/data/images", "fgvc-aircraft-2013b/data/variants.txt"),
    ),
    "dtd": Facts(
        loader="torchvision",
        classes=47,
        train=1880,
        val=1880,
        test=1880,
        size="630 MB",
        licence="research",
        source="www.robots.ox.ac.uk/~vgg/data/dtd",
        needs=("dtd/dtd/images", "dtd/dtd/labels"),
    ),
    "isic2020": Facts(
        loader="isic2020",
        classes=2,
        train=32701,  # 33,126 less 425 duplicates
        val=None,
        test=None,
        size="23 GB",
        licence="CC BY-NC 4.0",
        source="challenge2020.isic-archive.com",
        needs=("ISIC_2020_Training_GroundTruth.csv", "ISIC_2020_Training_Duplicates.csv", "train"),
        fetched=False,
    ),
    "cifar10": Facts(
        loader="torchvision",
        classes=10,
        train=50000,
        val=None,
        test=10000,
        size="180 MB",
        licence=_UNSTATED,
        source="www.cs.toronto.edu/~kriz/cifar.html",
        needs=(
            *(f"cifar-10-batches-py/data_batch_{number}" for number in range(1, 6)),
            "cifar-10-batches-py/test_batch",
            "cifar-10-batches-py/batches.meta",
        ),
    ),
    "cifar100": Facts(
        loader="torchvision",
        classes=100,
        train=50000,
        val=None,
        test=10000,
        size="180 MB",
        licence=_UNSTATED,
        source="www.cs.toronto.edu/~kriz/cifar.html",
        needs=tuple(f"cifar-100-python/{name}" for name in ("train", "test", "meta")),
    ),
    "stl10": Facts(
        loader="torchvision",
        classes=10,
        train=5000,
        val=None,
        test=8000,
        size="2.9 GB",
        licence=_UNSTATED,
        source="ai.stanford.edu/~acoates/stl10",
        needs=tuple(f"stl10_binary/{name}" for name in ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin")),
    ),
    "mnist": Facts(
        loader="torchvision",
        classes=10,
        train=60000,
        val=None,
        test=10000,
        size="55 MB",
        licence="CC BY-SA 3.0",
        source="yann.lecun.com/exdb/mnist",
        needs=tuple(
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
        loader="torchvision",
        classes=10,
        train=7291,
        val=None,
        test=2007,
        size="9 MB",
        licence=_UNSTATED,
        source="www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html#usps",
        needs=("usps.bz2", "usps.t.bz2"),
    ),
    "svhn": Facts(
        loader="torchvision",
        classes=10,
        train=73257,
        val=None,
        test=26032,
        size="250 MB",
        licence="non-commercial use",
        source="ufldl.stanford.edu/housenumbers",
        needs=("train_32x32.mat", "test_32x32.mat"),
    ),
    "oxford_pets": Facts(
        loader="torchvision",
        classes=37,
        train=3680,
        val=None,
        test=3669,
        size="830 MB",
        licence="CC BY-SA 4.0; images belong to their owners",
        source="www.robots.ox.ac.uk/~vgg/data/pets",
        needs=("oxford-iiit-pet/images", "oxford-iiit-pet/annotations/trainval.txt", "oxford-iiit-pet/annotations/test.txt"),
    ),
    "food101": Facts(
        loader="torchvision",
        classes=101,
        train=75750,
        val=None,
        test=25250,
        size="5.2 GB",
        licence="research; images come from foodspotting.com",
        source="data.vision.ee.ethz.ch/cvl/datasets_extra/food-101",
        needs=("food-101/images", "food-101/meta/train.json", "food-101/meta/test.json"),
    ),
    "eurosat": Facts(
        loader="torchvision",
        classes=10,
        train=27000,
        val=None,
        test=None,
        size="100 MB",
        licence="MIT",
        source="github.com/phelber/eurosat",
        needs=("eurosat/2750",),
    ),
    "stanford_cars": Facts(
        loader="torchvision",
        classes=196,
        train=8144,
        val=None,
        test=8041,
        size="2 GB",
        licence="non-commercial research",
        source="gone: ai.stanford.edu/~jkrause/cars; local copies only",
        needs=tuple(
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
    # the facts of dermamnist at 28 pixels; its loader reads those of the other sets from the package
    "medmnist": Facts(
        loader="medmnist",
        classes=7,
        train=7007,
        val=1003,
        test=2005,
        size="20 MB",
        licence="CC BY-NC 4.0",
        source="zenodo.org/records/10519652",
        needs=("dermamnist.npz",),
    ),
    "folder": _of_ones_own("folder"),
    "table": _of_ones_own("table"),
    "hf": _of_ones_own("hf", "huggingface.co/datasets"),
    "digits": Facts(
        loader="digits",
        classes=10,
        train=200,
        val=200,
        test=1397,
        size="bundled",
        licence="CC BY 4.0",
        source="scikit-learn",
        fetched=False,
    ),
}
_AIRCRAFT_CLASSES = {"variant": 100, "family": 70, "manufacturer": 30}


def listed(config: DatasetConfig) -> Facts | None:
    """Return the catalogue's facts of the dataset in a config, or None."""
    known = CATALOGUE.get(config.name)
    if known is None or known.loader != config.loader:
        return None
    if config.name == "fgvc_aircraft" and config.annotation is not None:
        return replace(known, classes=_AIRCRAFT_CLASSES[config.annotation])
    return known
