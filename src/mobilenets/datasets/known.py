"""The data sets that ``fetch`` knows: where they come from, and what they hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class RemoteFile:
    """A file on the network: ``size`` in bytes, ``sha256`` in hexadecimal."""

    url: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class KnownSet:
    """A data set that ``write_folders`` knows; ``side`` is the native size of its square pictures, in pixels.

    ``classes`` is empty where its source names them; ``files`` where nothing is downloaded.
    """

    side: int
    files: tuple[RemoteFile, ...] = ()
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Part:
    """Pixels uint8 (N, H, W) in grey or (N, H, W, 3) in RGB, and integer labels (N,) into the classes."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.integer]


@dataclass(frozen=True)
class Content:
    """A data set in memory; ``classes``, and ``groups`` (one for each class), are empty where it has none.

    ``validation`` is None for a set that is not split.
    """

    train: Part
    validation: Part | None
    classes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


def _files(folder: str, *about: tuple[str, int, str]) -> tuple[RemoteFile, ...]:
    return tuple(RemoteFile(folder + name, size, sha256) for name, size, sha256 in about)


# Sizes and SHA-256 as Keras (CIFAR), TensorFlow Datasets (Fashion-MNIST) and torchvision publish them.
_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_CIFAR10 = _files(
    _CIFAR, ("cifar-10-python.tar.gz", 170_498_071, "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce")
)
_CIFAR100 = _files(
    _CIFAR, ("cifar-100-python.tar.gz", 169_001_437, "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7")
)
# Debian's files are the same but for the name and the time that their gzip headers leave out.
_FASHION = _files(
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ("train-images-idx3-ubyte.gz", 26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
    ("train-labels-idx1-ubyte.gz", 29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
    ("t10k-images-idx3-ubyte.gz", 4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
    ("t10k-labels-idx1-ubyte.gz", 5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
)
KNOWN = {
    # A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report, 2009; no licence stated.
    "cifar10": KnownSet(32, _CIFAR10),
    "cifar100": KnownSet(32, _CIFAR100),
    # H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    # Algorithms", arXiv:1708.07747, 2017; MIT licence.
    "fashion_mnist": KnownSet(
        28,
        _FASHION,
        (
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
    ),
    # E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998, as in
    # scikit-learn's load_digits; CC BY 4.0.
    "digits": KnownSet(8, classes=tuple("0123456789")),
    "shapes": KnownSet(160),
}
