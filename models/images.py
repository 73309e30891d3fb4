"""The one place that decodes an image file into pixels, and the one resize used everywhere."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageCms, UnidentifiedImageError

if TYPE_CHECKING:
    from torch import Tensor

#: File formats accepted, told apart by content. Pillow calls a JPEG of several pictures MPO.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")

#: Pixels a picture may have. 50 million are 150 MB decoded, more than any common camera gives.
MAX_PIXELS = 50_000_000

#: Shorter side, in pixels, below which a picture shows nothing that a view of 80 pixels could use.
MIN_SIDE = 4

#: The one filter. It stands in a student's header, so that anyone can repeat a score to 1e-4.
RESIZE = Image.Resampling.BICUBIC
RESIZE_NAME = "pillow-bicubic"

#: A JPEG is decoded at a reduced scale only while both sides stay this many times the target.
#: Draft straight to the target moves scores by 1.2e-2, to twice the target it is unseen.
DRAFT_FACTOR = 2

#: What Pillow raises on damaged bytes, by format and place.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
)

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

#: White of the numeric modes: the first of these that holds the largest value of the picture.
_USUAL_WHITES = (1.0, 255.0, 65535.0)

# The size is compared with our own limit as soon as the header is read. Pillow's check would only
# warn up to twice its limit, and its warnings cannot be caught safely in threads.
Image.MAX_IMAGE_PIXELS = None


class UnusableImage(Exception):
    """A file that gives no picture.

    Attributes:
        code: one of empty_file, unsupported_format, undecodable, truncated, too_large, too_small.
        message: one sentence for the user.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """What a file holds.

    Attributes:
        width: of the upright picture, in pixels.
        height: of the upright picture, in pixels.
        format: one of `FORMATS`.
        notes: what was done to it: animated, exif_rotated, alpha, palette, grayscale,
            bit_depth_16, and other modes in lower case, such as cmyk.
    """

    width: int
    height: int
    format: str
    notes: tuple[str, ...]


def inspect(data: bytes, *, max_pixels: int = MAX_PIXELS) -> ImageFacts:
    """The facts of a file, found by decoding all of it, so that a torn file is found too.

    Raises:
        UnusableImage: the bytes give no picture of at most `max_pixels` pixels.
    """
    image = _open(data)
    _check_size(image, max_pixels)
    notes = _notes(image)
    file_format = "JPEG" if image.format == "MPO" else str(image.format)
    stored = image.size
    upright = _load_upright(image)
    if upright is not image or upright.size != stored:
        notes = (*notes, "exif_rotated")
    _as_rgb(upright)
    width, height = upright.size
    return ImageFacts(width=width, height=height, format=file_format, notes=notes)


def decode(data: bytes, *, target: int | None = None) -> Image.Image:
    """The upright RGB picture in a file that `inspect` accepted: its first frame.

    Args:
        data: the bytes of the file. Their size is not checked again.
        target: side of the square that will be made of it. Lets a JPEG be decoded at a half, a
            quarter or an eighth of its size while both sides keep `DRAFT_FACTOR` times `target`.

    Raises:
        UnusableImage: the bytes give no picture.
    """
    image = _open(data)
    if target is not None:
        # A square asks the same of a picture that EXIF turns by 90 degrees.
        image.draft(None, (DRAFT_FACTOR * target, DRAFT_FACTOR * target))
    return _as_rgb(_load_upright(image))


def resize(image: Image.Image, side: int) -> Image.Image:
    """The picture squashed to `side` x `side` pixels; its aspect is not kept."""
    return image.resize((side, side), RESIZE)


def crop_resize(image: Image.Image, box_xyxy: tuple[int, int, int, int], side: int) -> Image.Image:
    """The part of the picture in a box (pixels, right and bottom exclusive), squashed."""
    return resize(image.crop(box_xyxy), side)


def to_tensor(image: Image.Image) -> Tensor:
    """(3, H, W) uint8 of an RGB picture."""
    import torch  # only here: the children that register images never need it

    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _open(data: bytes) -> Image.Image:
    """The picture with its header read and its pixels not."""
    if not data:
        raise UnusableImage("empty_file", "the file is empty")
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except MemoryError as error:
        raise UnusableImage("too_large", "the picture does not fit into memory") from error
    except _DAMAGE as error:
        raise _damaged(error) from error


def _unidentified(data: bytes) -> UnusableImage:
    """Broken header of a known format, or no known format at all."""
    for name in FORMATS:
        accepts = Image.OPEN[name][1]
        if accepts is not None and accepts(data[:16]) is True:
            return UnusableImage("undecodable", f"the file begins as {name} but has no picture")
    allowed = ", ".join(FORMATS)
    return UnusableImage("unsupported_format", f"the content is none of {allowed}")


def _damaged(error: BaseException) -> UnusableImage:
    if "truncated" in str(error).lower():
        return UnusableImage("truncated", "the file ends before its picture does")
    return UnusableImage("undecodable", f"the picture cannot be decoded: {error}")


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise UnusableImage(
            "too_large",
            f"{width} x {height} is {width * height} pixels; at most {max_pixels} are allowed",
        )
    if min(width, height) < MIN_SIDE:
        raise UnusableImage(
            "too_small", f"{width} x {height}; both sides need at least {MIN_SIDE} pixels"
        )


def _load_upright(image: Image.Image) -> Image.Image:
    """The picture decoded and turned as its EXIF says; itself if nothing is to be turned."""
    try:
        image.load()
    except MemoryError as error:
        raise UnusableImage("too_large", "the picture does not fit into memory") from error
    except _DAMAGE as error:
        raise _damaged(error) from error
    orientation = _orientation(image)
    turn = None if orientation is None else _UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int | None:
    """The EXIF orientation still to be applied. Pillow itself has turned a TIFF by now."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG)
    except (*_DAMAGE, Warning):
        return None  # broken EXIF in a sound picture: show it as it is stored
    return value if isinstance(value, int) else None


def _notes(image: Image.Image) -> tuple[str, ...]:
    notes = []
    if getattr(image, "is_animated", False) and image.format != "MPO":
        notes.append("animated")
    if image.has_transparency_data:
        notes.append("alpha")
    mode = image.mode
    if mode.startswith("I;16"):
        notes.append("bit_depth_16")
    if mode in {"1", "L", "LA", "La", "I", "F"} or mode.startswith("I;16"):
        notes.append("grayscale")
    elif mode in {"P", "PA"}:
        notes.append("palette")
    elif mode in {"CMYK", "LAB", "YCbCr", "HSV"}:
        notes.append(mode.lower())
    return tuple(notes)


def _as_rgb(image: Image.Image) -> Image.Image:
    """The picture as RGB: alpha over white, 16 bits scaled to 8, every other mode converted."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode.startswith("I;16"):
        return _grey(np.asarray(image).astype(np.float64), 65535.0)
    if image.mode in {"I", "F"}:
        values = np.nan_to_num(np.asarray(image).astype(np.float64))
        return _grey(values, _white(float(values.max())))
    if image.mode == "LAB":
        return _lab_to_rgb(image)
    if image.has_transparency_data:
        picture = image.convert("RGBA")
        paper = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(paper, picture).convert("RGB")
    return image.convert("RGB")


def _white(top: float) -> float:
    return next((white for white in _USUAL_WHITES if top <= white), top)


def _grey(values: np.ndarray, white: float) -> Image.Image:
    """RGB picture of (H, W) intensities, 0 black and `white` white; 65535 / 255 is 257."""
    scaled = np.clip(values * (255.0 / white), 0, 255).round().astype(np.uint8)
    return Image.fromarray(scaled, mode="L").convert("RGB")


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    converted = ImageCms.profileToProfile(
        image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    assert converted is not None  # it is None only when it converts in place
    return converted
