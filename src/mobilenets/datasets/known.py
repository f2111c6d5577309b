"""The data sets that ``fetch`` knows: where they come from, and what they are called."""

from __future__ import annotations

from dataclasses import dataclass


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

    name: str
    title: str
    side: int
    files: tuple[RemoteFile, ...]
    classes: tuple[str, ...]
    licence: str
    citation: str


_CIFAR = "https://www.cs.toronto.edu/~kriz/"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_TINY_IMAGES = 'A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report, 2009'

# Sizes and SHA-256 as Keras (CIFAR), TensorFlow Datasets (Fashion-MNIST) and torchvision publish them.
# Debian's Fashion-MNIST files are the same but for the name and the time that their gzip headers leave out.
KNOWN = {
    known.name: known
    for known in (
        KnownSet(
            name="cifar10",
            title="CIFAR-10",
            side=32,
            files=(
                RemoteFile(
                    _CIFAR + "cifar-10-python.tar.gz",
                    170_498_071,
                    "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
                ),
            ),
            classes=(),
            licence="none stated; the authors ask for the citation",
            citation=_TINY_IMAGES,
        ),
        KnownSet(
            name="cifar100",
            title="CIFAR-100",
            side=32,
            files=(
                RemoteFile(
                    _CIFAR + "cifar-100-python.tar.gz",
                    169_001_437,
                    "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
                ),
            ),
            classes=(),
            licence="none stated; the authors ask for the citation",
            citation=_TINY_IMAGES,
        ),
        KnownSet(
            name="fashion_mnist",
            title="Fashion-MNIST",
            side=28,
            files=(
                RemoteFile(
                    _FASHION + "train-images-idx3-ubyte.gz",
                    26_421_880,
                    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                ),
                RemoteFile(
                    _FASHION + "train-labels-idx1-ubyte.gz",
                    29_515,
                    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                ),
                RemoteFile(
                    _FASHION + "t10k-images-idx3-ubyte.gz",
                    4_422_102,
                    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                ),
                RemoteFile(
                    _FASHION + "t10k-labels-idx1-ubyte.gz",
                    5_148,
                    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                ),
            ),
            classes=(
                *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
                *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
            ),
            licence="MIT",
            citation='H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking '
            'Machine Learning Algorithms", arXiv:1708.07747, 2017',
        ),
        KnownSet(
            name="digits",
            title="Digits",
            side=8,
            files=(),
            classes=tuple("0123456789"),
            licence="CC BY 4.0",
            citation='E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine '
            "Learning Repository, 1998; as in scikit-learn's load_digits",
        ),
        KnownSet(
            name="shapes",
            title="Shapes",
            side=160,
            files=(),
            classes=(),
            licence="Apache-2.0",
            citation="drawn by this package",
        ),
    )
}
