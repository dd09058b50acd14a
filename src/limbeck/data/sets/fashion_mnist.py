"""Fashion-MNIST: 60,000 + 10,000 grey pictures of clothes, 28 x 28 pixels, in ten classes.

Xiao, Rasul and Vollgraf, "Fashion-MNIST", 2017, https://arxiv.org/abs/1708.07747; class names from its table 1.
"""

from pathlib import Path

from limbeck.data import cache, idx
from limbeck.data.raw import Raw

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
"""Where the Debian and Ubuntu package dataset-fashion-mnist puts the files."""


def load(path: Path | None = None) -> Raw:
    """Reads both splits from `path`, from the Debian package, or else fetches them through torchvision.

    Raises:
        DataError: When the files are missing or damaged and cannot be fetched.
    """
    if path is not None:
        return idx.read_folder(path, "fashion-mnist", CLASSES)
    looked = [DEBIAN, cache.folder() / "FashionMNIST" / "raw"]
    folder = next((place for place in looked if idx.files(place)), None)
    if folder is None:
        remedy = "apt install dataset-fashion-mnist, or path=FOLDER with the four idx files"
        folder = idx.download("fashion-mnist", "FashionMNIST", looked, remedy)
    return idx.read_folder(folder, "fashion-mnist", CLASSES)
