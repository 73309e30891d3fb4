"""Where the teacher looks closer: classes, CAM boxes, boxes in pixels (docs/method.md 8, 9)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Pixels of upsampled CAMs held at once: 64 MB in single precision, 40 CAMs at 640.
CHUNK_PIXELS = 2**24

#: Keeps min-max finite on a flat CAM (released code).
MIN_MAX_EPSILON = 1e-5


def class_threshold(probs: Tensor, classes_per_image: float) -> float:
    """The probability from which on a class gets a local view.

    Args:
        probs: (N, C) student probabilities at the size used for cropping, N at least 1.
        classes_per_image: wanted mean number of classes with a probability at or over the
            threshold; all C if it is larger.

    Returns:
        One of the probabilities: the round(N * classes_per_image)-th largest of all, at least the
        first. Ties with it are over the threshold too, so there are never fewer than wanted.

    Deviation: the released code raises a threshold in small steps until the mean of a sample falls
    into a window, which may never happen, and does so at another image size.
    """
    wanted = min(max(round(len(probs) * classes_per_image), 1), probs.numel())
    return probs.flatten().kthvalue(probs.numel() - wanted + 1).values.item()


def cam_boxes(cams: Tensor, *, size: int, threshold: float, margin: float) -> tuple[Tensor, Tensor]:
    """A box around the peak of each CAM.

    Args:
        cams: (M, h, w) activations, one class and image each.
        size: side in pixels to which a CAM is upsampled before it is cut.
        threshold: pixels above it, after min-max, are the peak; in [0, 1).
        margin: added on each side, as a fraction of the side.

    Returns:
        boxes: (M, 4) float32, xyxy as fractions of the view, clipped to [0, 1]; zero where there
            is none.
        found: (M,) bool; False for a CAM that is flat: it has no peak.

    Deviation: a true bounding box of all pixels kept. The released code takes the first and the
    last of them in row order, whose columns need not be the outermost.
    """
    chunks = torch.split(cams.float(), max(1, CHUNK_PIXELS // size**2))
    parts = [_peak_boxes(chunk, size, threshold) for chunk in chunks]
    pixels, found = (torch.cat(part) for part in zip(*parts, strict=True))
    margins = torch.tensor([-margin, -margin, margin, margin], device=cams.device)
    return (pixels / size + margins).clamp(0, 1) * found[:, None], found


def _peak_boxes(cams: Tensor, size: int, threshold: float) -> tuple[Tensor, Tensor]:
    """(m, 4) xyxy in pixels of the upsampled CAM, right and bottom exclusive, and (m,) found."""
    maps = F.interpolate(cams[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]
    # A row or column has a pixel over the threshold if its largest one is.
    columns, rows = maps.amax(dim=1), maps.amax(dim=2)  # both (m, size)
    low, high = maps.amin(dim=(1, 2))[:, None], columns.amax(dim=1, keepdim=True)
    kept_columns, kept_rows = (
        (part - low) / (high - low + MIN_MAX_EPSILON) > threshold for part in (columns, rows)
    )
    left, right = _extent(kept_columns)
    top, bottom = _extent(kept_rows)
    return torch.stack([left, top, right, bottom], dim=1), kept_rows.any(dim=1)


def _extent(kept: Tensor) -> tuple[Tensor, Tensor]:
    """First and one past the last True of each (m, size) row; 0 and `size` where there is none."""
    places = kept.int()
    return places.argmax(dim=1), kept.shape[1] - places.flip(1).argmax(dim=1)


def box_in_pixels(box: Tensor, width: int, height: int) -> tuple[int, int, int, int]:
    """A box of `cam_boxes` in pixels of the upright image of `width` x `height`.

    Args:
        box: (4,) xyxy as fractions of the view, which is the whole image squashed to a square.
        width: of the image in pixels.
        height: of the image in pixels.

    Returns:
        xyxy, right and bottom exclusive, inside the image, at least one pixel wide and high. The
        shorter side is grown to a square, evenly to both sides as far as the image allows, so that
        the crop is not distorted when it becomes a view.
    """
    left, top, right, bottom = box.tolist()
    x0, x1 = _pixels(left, right, width)
    y0, y1 = _pixels(top, bottom, height)
    side = max(x1 - x0, y1 - y0)
    x0, x1 = _grown(x0, x1, side, width)
    y0, y1 = _grown(y0, y1, side, height)
    return x0, y0, x1, y1


def _pixels(start: float, stop: float, length: int) -> tuple[int, int]:
    """Nearest pixel borders, at least one pixel apart."""
    first = min(round(start * length), length - 1)
    return first, min(max(round(stop * length), first + 1), length)


def _grown(start: int, stop: int, side: int, length: int) -> tuple[int, int]:
    """The interval grown to `side` around its middle, moved inside [0, length), clipped to it."""
    side = min(max(side, stop - start), length)
    first = min(max(start - (side - (stop - start)) // 2, 0), length - side)
    return first, first + side
