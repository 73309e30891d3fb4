"""Every kind of file becomes the same kind of picture, or one reason why not."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from models.images import (
    MAX_PIXELS,
    UnusableImage,
    crop_resize,
    decode,
    inspect,
    resize,
    to_tensor,
)

RED, GREEN, BLUE, WHITE, BLACK = (
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 255),
    (0, 0, 0),
)


def encoded(image: Image.Image, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def gradient(mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.linear_gradient("L").resize(size).convert(mode)


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds no pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"")
    chunks = [
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


# Where EXIF says that the stored first pixel, and the end of the stored first row, are to be seen.
TL, TR, BL, BR = (0, 0), (1, 0), (0, 1), (1, 1)
CORNERS = {
    1: (TL, TR),
    2: (TR, TL),
    3: (BR, BL),
    4: (BL, BR),
    5: (TL, BL),
    6: (TR, BR),
    7: (BR, TR),
    8: (BL, TL),
}


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("value", range(1, 9))
def test_exif_turns_the_picture_exactly_once(file_format, value):
    stored = Image.new("RGB", (64, 32))
    stored.paste(RED, (0, 0, 16, 16))
    stored.paste(GREEN, (48, 0, 64, 16))

    picture = decode(encoded(stored, file_format, exif=orientation(value), quality=95))

    assert picture.size == ((64, 32) if value < 5 else (32, 64))
    width, height = picture.size
    for colour, (right, bottom) in zip((RED, GREEN), CORNERS[value], strict=True):
        pixel = picture.getpixel((width - 8 if right else 8, height - 8 if bottom else 8))
        assert np.abs(np.subtract(pixel, colour)).max() < 40


def test_facts_tell_the_upright_size():
    facts = inspect(encoded(gradient(), "JPEG", exif=orientation(6)), max_pixels=MAX_PIXELS)

    assert (facts.width, facts.height, facts.format) == (48, 64, "JPEG")
    assert facts.notes == ("exif_rotated",)


def test_an_upright_picture_has_no_note():
    assert inspect(encoded(gradient(), "JPEG", exif=orientation(1))).notes == ()


def test_broken_exif_does_not_cost_the_picture():
    data = encoded(gradient(), "PNG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")

    assert decode(data).size == (64, 48)


def test_sixteen_bits_are_scaled_and_not_clipped():
    grey = np.tile(np.array([0, 257, 1000, 65535], dtype=np.uint16), (4, 1))
    data = encoded(Image.fromarray(grey), "PNG")

    # 1000 / 257 = 3.9; a plain conversion would clip it to 255
    assert [decode(data).getpixel((x, 0)) for x in range(4)] == [
        (0, 0, 0),
        (1, 1, 1),
        (4, 4, 4),
        (255, 255, 255),
    ]
    assert inspect(data).notes == ("bit_depth_16", "grayscale")


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.0, 0.5, 1.0, np.nan], [0, 128, 255, 0]),  # up to 1: 1 is white
        ([0.0, 51.0, 255.0, -3.0], [0, 51, 255, 0]),  # up to 255: 255 is white
        ([0.0, 257.0, 65535.0, 514.0], [0, 1, 255, 2]),  # up to 65535: 65535 is white
        ([0.0, 1e6, 5e5, 2e5], [0, 255, 128, 51]),  # beyond: the largest is white
    ],
)
def test_numeric_pictures_are_scaled_to_their_usual_white(values, shown):
    data = encoded(Image.fromarray(np.tile(np.float32(values), (4, 1))), "TIFF")

    assert [decode(data).getpixel((x, 0))[0] for x in range(4)] == shown


def test_thirty_two_bit_integers_are_scaled_too():
    data = encoded(Image.fromarray(np.tile(np.int32([0, 257, 65535, 514]), (4, 1))), "TIFF")

    assert [decode(data).getpixel((x, 0))[0] for x in range(4)] == [0, 1, 255, 2]


@pytest.mark.parametrize("file_format", ["TIFF", "JPEG"])
def test_cmyk_becomes_rgb(file_format):
    inks = Image.new("CMYK", (32, 16), (0, 0, 0, 0))
    inks.paste((0, 255, 255, 0), (16, 0, 32, 16))  # magenta and yellow make red
    data = encoded(inks, file_format, quality=95)

    picture = decode(data)

    assert np.abs(np.subtract(picture.getpixel((4, 8)), WHITE)).max() < 6
    assert np.abs(np.subtract(picture.getpixel((28, 8)), RED)).max() < 40
    assert inspect(data).notes == ("cmyk",)


def test_lab_becomes_rgb():
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = ImageCms.applyTransform(Image.new("RGB", (8, 8), (200, 30, 60)), to_lab)

    pixel = decode(encoded(lab, "TIFF")).getpixel((4, 4))

    assert np.abs(np.subtract(pixel, (200, 30, 60))).max() <= 3


def test_a_transparent_palette_colour_shows_the_paper():
    picture = Image.new("P", (8, 8), 0)
    picture.putpalette([*RED, *BLUE])
    picture.paste(1, (4, 0, 8, 8))
    data = encoded(picture, "PNG", transparency=0)

    assert decode(data).getpixel((0, 0)) == WHITE  # and not the red that it hides
    assert decode(data).getpixel((7, 0)) == BLUE
    assert inspect(data).notes == ("alpha", "palette")


def test_half_opaque_black_over_white_is_grey():
    data = encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 128)), "PNG")

    assert decode(data).getpixel((0, 0)) == (127, 127, 127)  # 255 x (1 - 128/255)


@pytest.mark.parametrize(
    ("picture", "options", "shown"),
    [
        (Image.new("LA", (8, 8), (0, 0)), {}, WHITE),
        (Image.new("RGB", (8, 8), RED), {"transparency": RED}, WHITE),
        (Image.new("1", (8, 8), 1), {}, WHITE),
        (Image.new("L", (8, 8), 0), {}, BLACK),
        (Image.new("L", (8, 8), 77), {}, (77, 77, 77)),
    ],
)
def test_other_modes_become_rgb(picture, options, shown):
    result = decode(encoded(picture, "PNG", **options))

    assert (result.mode, result.getpixel((3, 3))) == ("RGB", shown)


def test_an_animation_is_its_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])

    assert decode(data).getpixel((0, 0)) == RED
    assert "animated" in inspect(data).notes


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_formats_are_found_by_content(file_format):
    assert inspect(encoded(gradient(), file_format)).format == file_format


def test_a_jpeg_of_several_pictures_is_a_jpeg():
    data = encoded(gradient(), "MPO", save_all=True, append_images=[gradient()])

    facts = inspect(data)

    assert (facts.format, facts.notes) == ("JPEG", ())


@pytest.mark.parametrize("value", [1, 6])
def test_draft_leaves_twice_the_target(value):
    data = encoded(gradient(size=(1600, 1200)), "JPEG", exif=orientation(value))

    assert sorted(decode(data, target=200).size) == [600, 800]  # a half; a quarter is 300
    assert sorted(decode(data, target=300).size) == [600, 800]
    assert sorted(decode(data, target=301).size) == [1200, 1600]
    assert sorted(decode(data).size) == [1200, 1600]


def refusal(data: bytes, **options) -> UnusableImage:
    with pytest.raises(UnusableImage) as refused:
        inspect(data, **options)
    return refused.value


def test_a_picture_over_the_limit_is_refused_with_both_numbers():
    error = refusal(encoded(gradient(), "PNG"), max_pixels=3071)

    assert error.code == "too_large"
    assert error.message == "64 x 48 is 3072 pixels; at most 3071 are allowed"


@pytest.mark.parametrize("size", [(9_000, 9_000), (14_000, 14_000), (1_000_000, 60)])
def test_a_bomb_is_refused_before_it_is_decoded(size):
    assert refusal(png_header(*size)).code == "too_large"


def test_a_picture_of_three_pixels_is_too_small():
    assert refusal(encoded(Image.new("RGB", (3, 100)), "PNG")).code == "too_small"


def test_an_empty_file_is_refused():
    assert refusal(b"").code == "empty_file"


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_torn_file_is_refused(file_format, kept):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), file_format)

    assert refusal(data[: int(kept * len(data))]).code in {"truncated", "undecodable"}


def test_a_torn_jpeg_is_called_truncated():
    data = encoded(gradient(size=(640, 480)), "JPEG")

    assert refusal(data[: len(data) // 2]).code == "truncated"


@pytest.mark.parametrize("data", [b"<html></html>", b"PK\x03\x04" + bytes(60), b"%PDF-1.7 "])
def test_other_content_is_unsupported(data):
    assert refusal(data).code == "unsupported_format"


@pytest.mark.parametrize("file_format", ["PPM", "TGA", "ICO", "PCX", "EPS", "PDF"])
def test_other_formats_are_unsupported(file_format):
    assert refusal(encoded(gradient(), file_format)).code == "unsupported_format"


def test_decode_names_what_is_wrong_too():
    with pytest.raises(UnusableImage):
        decode(b"\xff\xd8\xff\xe0 and no more")


def test_resize_squashes():
    assert resize(gradient(size=(64, 20)), 16).size == (16, 16)


def test_a_crop_sees_nothing_beyond_its_box():
    picture = Image.new("RGB", (64, 64), RED)
    picture.paste(BLUE, (16, 16, 48, 48))

    crop = crop_resize(picture, (16, 16, 48, 48), 8)

    assert crop.getcolors() == [(64, BLUE)]


def test_a_tensor_has_channels_first():
    picture = Image.new("RGB", (3, 2), RED)

    tensor = to_tensor(picture)

    assert (tensor.shape, tensor.dtype) == ((3, 2, 3), torch.uint8)
    assert tensor[:, 0, 0].tolist() == [255, 0, 0]
