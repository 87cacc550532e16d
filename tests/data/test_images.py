"""Images are read one way everywhere: upright or as annotated, 8 bits, whole."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from contrastmask.data.images import ImageError, inspect, read_image


def photo(size=(40, 30), seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8; smooth, so that JPEG keeps it."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize(size))


def save(path: Path, pixels: np.ndarray, orientation: int = 1) -> Path:
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp", "tif", "gif", "avif", "jp2", "ppm"])
def test_ordinary_images_are_what_opencv_reads(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(photo()).save(path)
    assert np.array_equal(read_image(path, (40, 30)), cv2.imread(str(path)))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_turned_as_exif_says(tmp_path, suffix, orientation):
    path = save(tmp_path / f"a.{suffix}", photo(), orientation)
    stored = np.array(Image.open(path).convert("RGB"))
    upright = np.array(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    assert np.array_equal(read_image(path)[..., ::-1], upright)
    assert np.array_equal(read_image(path, upright.shape[1::-1])[..., ::-1], upright)
    if orientation > 4:
        assert np.array_equal(read_image(path, (40, 30))[..., ::-1], stored)
    assert inspect(path).ambiguous == (orientation in (2, 3, 4))


def test_a_size_that_is_neither_is_refused(tmp_path):
    path = save(tmp_path / "a.jpg", photo(), 6)
    with pytest.raises(ImageError, match=r"is 40x30 \(30x40 turned as its Exif says\), recorded as 41x30"):
        read_image(path, (41, 30))


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 3)])
def test_sixteen_bits_fill_eight(tmp_path, suffix, shape):
    """12 bits in 16, as microscopes and thermal cameras write them, were nearly black."""
    values = np.random.default_rng(0).integers(200, 4000, shape).astype(np.uint16)
    path = tmp_path / f"a.{suffix}"
    cv2.imwrite(str(path), values)
    assert inspect(path).bits == 16
    pixels = read_image(path, (40, 30)).astype(float)
    whole = values if values.ndim == 3 else values[..., None].repeat(3, 2)
    expected = (whole - values.min()) * 255.0 / (values.max() - values.min())
    assert pixels.min() == 0 and pixels.max() == 255 and abs(pixels - expected).max() <= 0.5


def test_floating_point_is_refused_with_the_reason(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(np.ones((30, 40), np.float32)).save(path)
    with pytest.raises(ImageError, match="32 bits a channel") as caught:
        inspect(path)
    assert caught.value.kind == "depth"


BEGINS = {
    "page.jpg": b"<html>404</html>",
    "photo.heic": b"\0\0\0\x18ftypheic",
    "pointer.png": b"version https://git-lfs",
}


@pytest.mark.parametrize("name", BEGINS)
def test_what_is_no_image_is_shown(tmp_path, name):
    (tmp_path / name).write_bytes(BEGINS[name])
    with pytest.raises(ImageError) as caught:
        inspect(tmp_path / name)
    assert repr(BEGINS[name]) in str(caught.value) and caught.value.kind == "unreadable"


def test_images_of_hundreds_of_megapixels_are_refused_as_such(tmp_path):
    raw = io.BytesIO()
    Image.new("1", (8, 8)).save(raw, "PNG")
    head = b"IHDR" + struct.pack(">II", 14000, 14000) + raw.getvalue()[24:29]
    (tmp_path / "a.png").write_bytes(
        raw.getvalue()[:12] + head + struct.pack(">I", zlib.crc32(head)) + raw.getvalue()[33:]
    )
    with pytest.raises(ImageError) as caught:
        inspect(tmp_path / "a.png")
    assert caught.value.kind == "huge"


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif", "webp"])
def test_a_cut_file_is_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(photo()).save(path)
    path.write_bytes(path.read_bytes()[:-40])
    for read in (inspect, read_image):
        with pytest.raises(ImageError, match="cannot be read"):
            read(path)


@given(cut=st.integers(0, 400), at=st.integers(0, 400), byte=st.integers(0, 255))
def test_any_damage_is_one_error_or_none(tmp_path_factory, cut, at, byte):
    """Whatever is in a file, only ImageError comes of it."""
    stream = io.BytesIO()
    Image.fromarray(photo((16, 12))).save(stream, "JPEG" if at % 2 else "PNG")
    raw = bytearray(stream.getvalue())
    raw[at % len(raw)] = byte
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(raw[: len(raw) - cut % 7 * 20])
    for read in (inspect, read_image):
        try:
            read(path)
        except ImageError as error:
            assert error.kind in ("unreadable", "depth", "size", "huge", "format")
