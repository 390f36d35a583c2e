"""Images as they are in the wild: decoded as they look, or refused with a reason."""

import contextlib
import io
import struct
import sys
from pathlib import Path

import numpy as np
import PIL
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

sys.path.insert(0, str(Path(__file__).parent))
from image_files import encoded, random_image

from jepa_t.data import decoding
from jepa_t.data.broken import BrokenSample
from jepa_t.data.decoding import centre_crop, decode, is_image, to_inputs, to_rgb

PAINT, PALE = (200, 40, 90), (227, 147, 172)  # the second is the first at half strength on white


def flat(mode, colour):
    return Image.new(mode, (16, 16), colour)


def palette(transparent=False):
    image = flat("P", 0)
    image.putpalette([*PAINT, 0, 0, 255])
    image.paste(1, (0, 0, 8, 16))
    return encoded(image, "PNG", transparency=1) if transparent else encoded(image)


def half(mode, colour):
    image = flat(mode, colour)
    image.putalpha(127)
    return encoded(image)


def sixteen_bits(value, kind="PNG"):
    return encoded(Image.fromarray(np.full((16, 16), value, np.uint16)), kind)


KINDS = {
    "JPEG": (encoded(flat("RGB", PAINT), "JPEG", quality=100), PAINT),
    "CMYK JPEG": (encoded(flat("CMYK", (55, 215, 165, 0)), "JPEG", quality=100), PAINT),
    "CMYK TIFF": (encoded(flat("CMYK", (55, 215, 165, 0)), "TIFF"), PAINT),
    "YCbCr TIFF": (encoded(flat("RGB", PAINT).convert("YCbCr"), "TIFF"), PAINT),
    "LAB TIFF": (encoded(flat("RGB", PAINT).convert("LAB"), "TIFF"), PAINT),
    "palette": (palette(), PAINT),
    "palette with a transparent colour": (palette(True), PAINT),
    "GIF": (encoded(flat("RGB", PAINT), "GIF"), PAINT),
    "animation": (encoded(flat("RGB", PAINT), "GIF", save_all=True, append_images=[flat("RGB", 0)]), PAINT),
    "WebP with alpha": (encoded(flat("RGBA", (*PAINT, 255)), "WEBP", lossless=True), PAINT),
    "alpha": (half("RGB", PAINT), PALE),
    "nothing but alpha": (encoded(flat("RGBA", (*PAINT, 0))), (255, 255, 255)),
    "grey": (encoded(flat("L", 77)), (77, 77, 77)),
    "grey JPEG": (encoded(flat("L", 77), "JPEG", quality=100), (77, 77, 77)),
    "grey with alpha": (half("L", 77), (166, 166, 166)),
    "black and white": (encoded(flat("1", 1)), (255, 255, 255)),
    "16 bits": (sixteen_bits(257 * 77), (77, 77, 77)),
    "16 bits, nearly": (sixteen_bits(257 * 77 - 100), (77, 77, 77)),
    "16 bits, TIFF": (sixteen_bits(65535, "TIFF"), (255, 255, 255)),
    "32 bits of which 16 are used": (encoded(flat("I", 257 * 77), "TIFF"), (77, 77, 77)),
}
if int(PIL.__version__.split(".")[0]) < 13:
    del KINDS["YCbCr TIFF"]  # Pillow 12.3, which the demo page asks for, writes it cut short


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_looks_as_it_should(kind):
    data, colour = KINDS[kind]
    image = decode(data)
    assert (image.mode, image.size) == ("RGB", (16, 16))
    assert np.abs(np.asarray(image)[:, 8:] - np.array(colour, int)).max() <= 2


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=30))
def test_sixteen_bits_are_rounded_to_eight(values):
    image = decode(encoded(Image.fromarray(np.array([values], np.uint16))))
    assert np.asarray(image)[0, :, 0].tolist() == [round(value / 257) for value in values]


def test_a_transparent_colour_of_a_palette_lies_on_white():
    assert (np.asarray(decode(palette(True)))[:, :8] == 255).all()
    assert (np.asarray(decode(palette()))[:, :8] == (0, 0, 255)).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG"])
@pytest.mark.parametrize("orientation", range(10))
def test_exif_turns_the_image_upright(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(random_image(), kind, exif=exif)
    with Image.open(io.BytesIO(data)) as image:
        expected = ImageOps.exif_transpose(image)
    assert decode(data).size == ((12, 20) if orientation in (5, 6, 7, 8) else (20, 12))
    for found in (decode(data), to_rgb(decode(data)), to_rgb(Image.open(io.BytesIO(data)))):  # nothing is turned twice
        assert np.array_equal(found, expected)


def test_damaged_exif_says_nothing():
    """Some images of ImageNet have it; PIL warns of it, and warnings are errors here."""
    entry = struct.pack("<HHIHHI", 1, 0x0112, 2, 3, 0, 99999) + struct.pack("<HHII", 0x011A, 5, 1, 88888)
    data = encoded(random_image(), "JPEG", exif=b"Exif\0\0II*\0" + struct.pack("<I", 8) + entry)
    assert decode(data).size == (20, 12)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encoded(random_image(64, 64), "JPEG")[:-300], "truncated"),
        (encoded(random_image(64, 64))[:-300], "truncated"),
        (encoded(random_image(64, 64), "WEBP")[:-100], "decoder"),
        (encoded(random_image(64, 64), "GIF")[:-300], "truncated"),
        (encoded(random_image(64, 64), "BMP")[:-300], "truncated"),
        (b"", "no image"),
        (b"<html>404</html>", "no image"),
        (encoded(flat("F", 0.5), "TIFF"), "fractions"),
        (encoded(flat("I", 70000), "TIFF"), "more than 16 bits"),
        ("absent.jpg", "No such file"),
        (".", "no file, but a folder"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", "no image"),
    ],
)
def test_what_cant_be_read_is_refused_with_a_reason(data, reason):
    with pytest.raises(BrokenSample, match=reason) as told:
        decode(data)
    assert str(told.value)
    assert "\n" not in str(told.value)
    assert "0x" not in str(told.value)


@given(st.sampled_from(["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"]), st.data())
def test_damage_is_decoded_or_refused_but_nothing_else(kind, data):
    content = bytearray(encoded(random_image(), kind))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BrokenSample):
        assert decode(bytes(content)).mode == "RGB"


def test_large_images_are_read_up_to_a_stated_size(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert decode(encoded(flat("RGB", PAINT).resize((40, 50)))).size == (40, 50)  # PIL alone warns from 1,001
    with pytest.raises(BrokenSample, match=r"2040 pixels.* exceeds limit of 2000"):
        decode(encoded(flat("RGB", PAINT).resize((40, 51))))


def test_a_huge_jpeg_is_decoded_smaller(monkeypatch):
    data = encoded(random_image(160, 240), "JPEG")
    monkeypatch.setattr(decoding, "HALVED", 1000)
    small = decode(data)
    assert small.size == (80, 120)
    assert np.abs(np.asarray(small, float) - np.asarray(random_image(80, 120), float)).mean() < 3


# The crop


def adm(image, size):
    """guided-diffusion's center_crop_arr, step by step as its paper's code describes it."""
    while min(*image.size) >= 2 * size:
        image = image.resize(tuple(x // 2 for x in image.size), resample=Image.Resampling.BOX)
    scale = size / min(*image.size)
    image = image.resize(tuple(round(x * scale) for x in image.size), resample=Image.Resampling.BICUBIC)
    array = np.array(image)
    top, left = (array.shape[0] - size) // 2, (array.shape[1] - size) // 2
    return array[top : top + size, left : left + size]


@given(st.integers(1, 150), st.integers(1, 150), st.integers(1, 40))
def test_the_crop_is_adm_s(width, height, size):
    image = random_image(width, height)
    cropped = centre_crop(image, size)
    assert cropped.size == (size, size)
    if max(width, height) <= decoding.NARROW * min(width, height):
        assert np.array_equal(cropped, adm(image, size))


@pytest.mark.parametrize("shape", [(1, 1), (1, 60000), (60000, 1), (3, 5000)])
def test_a_strip_is_cut_before_it_is_scaled(shape):
    """Scaled whole, one of 1 x 60,000 pixels would take 12 GB."""
    assert centre_crop(random_image(*shape), 256).size == (256, 256)


@given(st.integers(2, 40), st.integers(2, 40))
def test_inputs_are_the_pixels_from_minus_one_to_one(width, height):
    pixels = np.asarray(random_image(width, height))
    inputs = to_inputs([pixels, 255 - pixels])
    assert inputs.shape == (2, 3, height, width)
    assert inputs.is_contiguous()
    assert np.array_equal(((inputs[0] + 1) * 127.5).round().numpy(), pixels.transpose(2, 0, 1))
    assert (inputs[0] + inputs[1]).abs().max() < 1e-6


@pytest.mark.parametrize("name", ["a.jpg", "b/n01_1.JPEG", "c.d.webp"])
def test_images_are_told_by_their_names(name):
    assert is_image(name)


@pytest.mark.parametrize("name", ["a.txt", "jpg", ".hidden.jpg", "b/._a.jpg", "a.jpg.part"])
def test_other_files_are_left_out(name):
    assert not is_image(name)
