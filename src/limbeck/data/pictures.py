"""Pictures to arrays: the one place where Pillow is called, for training data and for a picture to predict.

A picture is turned as its EXIF orientation says. It is brought to a size by scaling (bilinear, antialiased) until it
covers the wanted height and width, and cutting off what sticks out on both sides alike: shapes are kept, and a square
size shows the middle of the picture.
"""

import contextlib
import io
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from limbeck.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"})
"""Files that are taken for pictures, in lower case."""

Source: TypeAlias = Path | bytes | Any
"""A picture's file, the content of one, or a picture of Pillow's."""

_GREY = frozenset({"1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N"})
_TOO_DEEP = frozenset({"I", "F"})
_QUARTER_TURNS = frozenset({5, 6, 7, 8})
_ORIENTATION = 0x0112


class Unfit(Exception):
    """A picture that cannot be used; its text says why in a few words."""


@contextlib.contextmanager
def pillow() -> Iterator[Any]:
    """Pillow's `Image`, for a block in which pictures that are bombs raise and its other warnings are kept quiet.

    Raises:
        DataError: When Pillow is not installed.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise DataError("pictures need Pillow, which is not installed", remedy="pip install 'limbeck[data]'") from error
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield Image


def header(source: Source) -> tuple[bool, tuple[int, int]]:
    """Whether a picture is grey, and its (height, width) as it is shown; pixels are not decoded. Inside `pillow()`.

    Raises:
        Unfit: When it is no picture, is too large, or has a depth that is not supported.
    """
    with _opened(source) as image:
        width, height = image.size
        turned = image.getexif().get(_ORIENTATION) in _QUARTER_TURNS
        return image.mode in _GREY, (width, height) if turned else (height, width)


def decoded(source: Source, *, grey: bool, size: tuple[int, int] | None = None) -> npt.NDArray[np.uint8]:
    """A picture as bytes of shape (1, height, width) or (3, height, width). Inside `pillow()`.

    Args:
        source: The picture.
        grey: One channel; else red, green and blue.
        size: Height and width to bring it to; None leaves it as it is.

    Raises:
        Unfit: When it is no picture, is damaged, too large, or has a depth that is not supported.
    """
    from PIL import Image, ImageOps

    with _opened(source) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16"):
            # convert() would clip 16 bits to white; their upper half is what 8 bits can show
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image = image.convert("L" if grey else "RGB")
        if size is not None and (image.height, image.width) != size:
            image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.BILINEAR)
        pixels = np.array(image)
    return pixels[None] if grey else np.ascontiguousarray(pixels.transpose(2, 0, 1))


@contextlib.contextmanager
def _opened(source: Source) -> Iterator[Any]:
    from PIL import Image, UnidentifiedImageError

    image: Any = source if hasattr(source, "getbands") else None
    try:
        if image is None:
            image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source)
        if image.mode in _TOO_DEEP:
            raise Unfit(f"pictures of 32-bit {'decimals' if image.mode == 'F' else 'integers'} are not supported")
        yield image
    except FileNotFoundError as error:
        raise Unfit("there is no such file") from error
    except UnidentifiedImageError as error:
        raise Unfit("is no picture") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Unfit(f"has more than {Image.MAX_IMAGE_PIXELS:,} pixels") from error
    except (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, struct.error) as error:
        # each of these has been raised by one of Pillow's decoders on damaged content
        raise Unfit(f"is damaged: {str(error) or type(error).__name__}") from error
    finally:
        if image is not None and image is not source:
            image.close()
