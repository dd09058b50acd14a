"""What the outputs of a network from timm stand for: names said in its text, a file of names, or the set it learnt."""

import importlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limbeck.errors import ModelError, did_you_mean


def output_names(said: Any, classes: Sequence[str], source: str) -> tuple[str, ...]:
    """The names of a network's outputs, in its own order.

    Args:
        said: A tuple or list of names; the path of a text file with one name a line; or a set of labels that timm
            knows, such as `imagenet-1k`, whose names are the data's kind: WordNet numbers (n02123045) where all classes
            of the data are such, else the first English word or words (`tabby`), with the number where two are alike.
        classes: The data's.
        source: The model's text, for messages.

    Raises:
        ModelError: When it is none of these, or a name stands there twice.
    """
    if isinstance(said, str):
        names = _lines(Path(said)) if Path(said).is_file() else _known(said, classes, source)
    elif isinstance(said, Sequence) and all(isinstance(name, str | int) for name in said):
        names = tuple(str(name) for name in said)
    else:
        raise ModelError(
            f"classes={said!r} of {source} are no names", expected="('cat', 'dog'), a file, or imagenet-1k"
        )
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice or not names:
        raise ModelError(
            f"classes of {source} name {twice[0]!r} twice" if twice else f"classes of {source} name nothing",
            expected="a name of its own for each output, in the network's order",
        )
    return names


def learnt(network: Any, source: str) -> str:
    """The set of labels a network of timm was trained on.

    Raises:
        ModelError: When timm does not know.
    """
    found = _timm_data().infer_imagenet_subset(network)
    if found is None:
        raise ModelError(
            f"timm does not say what the outputs of {source} stand for",
            expected="a network trained on a set of ImageNet's labels",
            remedy="say it: classes=('cat', 'dog', ...) or classes='names.txt', one a line, in the network's order",
        )
    return str(found)


def _timm_data() -> Any:
    return importlib.import_module("timm.data")


def _lines(place: Path) -> tuple[str, ...]:
    try:
        return tuple(line.strip() for line in place.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{place} cannot be read: {error}", expected="a text file with one name a line") from error


def _known(said: str, classes: Sequence[str], source: str) -> tuple[str, ...]:
    try:
        labels = _timm_data().ImageNetInfo(said)
    except AssertionError as error:
        raise ModelError(
            f"classes={said!r} of {source} is no file, and no set of labels that timm knows",
            expected="('cat', 'dog'), a text file with one name a line, or a set",
            remedy=did_you_mean(said, ("imagenet-1k", "imagenet-12k", "imagenet-21k", "imagenet-22k", "imagenet-a")),
        ) from error
    numbers = tuple(labels.label_names())
    if set(classes) <= set(numbers):
        return numbers
    words = [description.split(", ")[0] for description in labels.label_descriptions()]
    often = Counter(words)
    return tuple(
        word if often[word] == 1 else f"{word} ({number})" for word, number in zip(words, numbers, strict=True)
    )
