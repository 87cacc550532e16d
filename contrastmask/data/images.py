"""The one place that reads images: which way up, how many bits, and whether a file is whole.

Verification, training, evaluation and `predict` all go through it, so that what was verified is what is read:

* Exif's orientation: pixels are turned upright, unless the recorded size shows that they were annotated as stored.
* 16 bits a channel: the darkest value of the image becomes 0, the brightest 255, as viewers of such images do.
* A file that is cut short is refused, where OpenCV would fill the rest with grey.
"""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from contrastmask.errors import DataError

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # photos of drones are as large

HEAD = 25  # bytes of a PNG up to its bits a channel
TAIL = 64  # bytes read from an image's end
END_MARKS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
#: Formats that both PIL, which looks at the file, and OpenCV, which decodes it, read.
FORMATS = {"JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM"}
EXIF_ORIENTATION = 274
TIFF_BITS = 258

Size = tuple[int, int]  # width, height in pixels


class ImageError(ValueError):
    """An image that cannot be used; `kind` is one of problems.KINDS."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Header:
    """What a file says of its image: `size` as stored, Exif's `orientation` (1: upright), bits of a channel."""

    size: Size
    orientation: int
    bits: int
    n_bytes: int

    @property
    def upright(self) -> Size:
        """The size of the image turned as Exif says."""
        return self.size[::-1] if self.orientation > 4 else self.size

    def turns(self, recorded: Size | None) -> bool:
        """Whether the pixels must be turned to be of the `recorded` size; without one they are turned upright.

        Raises:
            ImageError: it is neither the size as stored nor the size upright.
        """
        if recorded in (None, self.upright):
            return self.orientation > 1
        if recorded == self.size:
            return False
        turned = f" ({_by(self.upright)} turned as its Exif says)" if self.upright != self.size else ""
        raise ImageError("size", f"is {_by(self.size)}{turned}, recorded as {_by(recorded)}")

    @property
    def ambiguous(self) -> bool:
        """Whether no recorded size can tell if it was annotated turned or as stored."""
        return self.orientation > 1 and self.upright == self.size


def _by(size: Size | None) -> str:
    return "x".join(map(str, size or ()))


def inspect(path: Path) -> Header:
    """The header of a whole image; only its first and last bytes are read where its format marks the end.

    Raises:
        ImageError: it is missing, cut short, no image, or of a depth that nobody can show.
    """
    with _opening(), path.open("rb") as stream:
        return _inspect(stream)


@contextmanager
def _opening() -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except FileNotFoundError:
        raise ImageError("missing", "missing") from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have here
        raise ImageError("unreadable", f"cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _inspect(stream: IO[bytes]) -> Header:
    n_bytes = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, n_bytes - TAIL))
    tail = stream.read()
    stream.seek(0)
    head = stream.read(HEAD)
    stream.seek(0)
    try:
        with Image.open(stream) as opened:
            if opened.format not in FORMATS:
                raise ImageError("format", f"is a {opened.format} image")
            header = Header(opened.size, _orientation(opened), _bits(opened, head), n_bytes)
            mark = END_MARKS.get(opened.format or "")
            if mark is None or mark not in tail:
                opened.load()  # raises OSError if it is cut short; some whole files only lack the mark
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError("huge", "has more pixels than are read at once") from None
    except Image.UnidentifiedImageError:
        begin = f"it begins with {head!r}" if head else "it is empty"
        raise ImageError("unreadable", f"cannot be read as an image ({begin})") from None
    # SyntaxError is how some of PIL's readers report a broken file
    except (OSError, SyntaxError, ValueError) as error:
        text = str(error).replace(f" {stream!r}", "")
        raise ImageError("unreadable", f"cannot be read as an image ({text})") from None
    if header.bits not in (1, 2, 4, 8, 16):
        raise ImageError("depth", f"has {header.bits} bits a channel")
    return header


def _orientation(opened: Image.Image) -> int:
    """Exif's, 1 for one that is not in its range; both PIL and OpenCV turn a TIFF by themselves."""
    found = opened.getexif().get(EXIF_ORIENTATION, 1)
    return found if opened.format != "TIFF" and found in range(1, 9) else 1


def _bits(opened: Image.Image, head: bytes) -> int:
    if opened.format == "TIFF":
        return max(getattr(opened, "tag_v2", {}).get(TIFF_BITS, (1,)))
    if opened.format == "PNG":  # PIL opens 16 bits of RGB as 8
        return head[-1]
    return {"1": 1, "I": 32, "F": 32}.get(opened.mode, 16 if opened.mode.startswith("I;16") else 8)


def read_image(path: Path, recorded: Size | None = None) -> np.ndarray:
    """The pixels (H, W, 3) uint8 in BGR, of the `recorded` size, or upright without one.

    Raises:
        ImageError: the file is missing, cut short, no image, or of another size.
    """
    import cv2

    with _opening():
        raw = path.read_bytes()
    header = _inspect(io.BytesIO(raw))
    turn = header.turns(recorded)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(raw, np.uint8), flags)
    except cv2.error as error:
        raise ImageError("unreadable", f"cannot be decoded ({error})") from None
    if pixels is None:
        raise ImageError("unreadable", "cannot be decoded")
    if pixels.dtype != np.uint8:
        pixels = _stretched(pixels)
    return _turned(pixels, header.orientation) if turn else pixels


def read_verified(path: Path, recorded: Size) -> np.ndarray:
    """An image of a verified data set, as `read_image` gives it; DataError if it is no longer what it was."""
    try:
        return read_image(path, recorded)
    except ImageError as error:
        raise DataError(
            f"{path}: {error}. It was whole when the data was verified: put it back, and the same command goes on"
        ) from None


def _stretched(pixels: np.ndarray) -> np.ndarray:
    low, high = int(pixels.min()), int(pixels.max())
    return np.rint((pixels - float(low)) * (255 / max(high - low, 1))).astype(np.uint8)


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels turned and mirrored as Exif's orientations 2 to 8 ask for."""
    if orientation > 4:
        pixels = pixels.transpose(1, 0, 2)
    horizontal, vertical = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
    return np.ascontiguousarray(pixels[:: -1 if vertical else 1, :: -1 if horizontal else 1])
