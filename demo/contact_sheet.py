"""A sheet of scenes with their labels and the local views that the method looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

COLUMNS, ROWS = 6, 4
PICTURE, MARGIN, TEXT = 224, 14, 58
#: A local view is drawn when the teacher gives its class at least this probability in it.
SHOWN_PROBABILITY = 0.5
PAPER, INK, FAINT, GOOD, BAD = "#f7f5f0", "#26241f", "#8a867c", "#2f7d4f", "#b5452f"
COLOURS = ("#e4572e", "#17bebb", "#ffc914", "#76b041", "#9d4edd", "#ff70a6")


def draw_contact_sheet(
    scenes: Path, pseudo: dict[str, Any], student: dict[str, Any], truth: dict[str, Any]
) -> Image.Image:
    """The first scenes with local views drawn, and under each what the student says.

    Args:
        scenes: folder of the pictures.
        pseudo: label rows with views, by file name.
        student: the student's label rows, by file name.
        truth: true labels, by file name.
    """
    width = MARGIN + COLUMNS * (PICTURE + MARGIN)
    height = MARGIN + ROWS * (PICTURE + TEXT + MARGIN)
    sheet = Image.new("RGB", (width, height), PAPER)
    for index, path in enumerate(list(truth)[: COLUMNS * ROWS]):
        x = MARGIN + index % COLUMNS * (PICTURE + MARGIN)
        y = MARGIN + index // COLUMNS * (PICTURE + TEXT + MARGIN)
        with Image.open(scenes / path) as picture:
            sheet.paste(_with_views(picture.convert("RGB"), pseudo[path]["views"]), (x, y))
        _write_labels(
            ImageDraw.Draw(sheet), x, y + PICTURE + 4, student[path]["labels"], truth[path]
        )
    return sheet


def _with_views(picture: Image.Image, views: list[dict[str, Any]]) -> Image.Image:
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(11)
    sure = [view for view in views if view["probs"][view["class"]] >= SHOWN_PROBABILITY]
    for view, colour in zip(sure, COLOURS, strict=False):
        left, top, right, bottom = view["box_xyxy"]
        draw.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=2)
        text = f"{view['class']} {view['probs'][view['class']]:.2f}"
        place = (min(left + 3, PICTURE - draw.textlength(text, font) - 3), top + 2)
        draw.rectangle(draw.textbbox(place, text, font), fill=colour)
        draw.text(place, text, fill=INK, font=font)
    return picture


def _write_labels(
    draw: ImageDraw.ImageDraw, x: int, y: int, said: list[str], truth: dict[str, Any]
) -> None:
    """What the student says, right in green and wrong in red; below it what it missed."""
    font = ImageFont.load_default(13)
    position = x
    for name in said:
        text = f"{name}  "
        if position + draw.textlength(text, font) > x + PICTURE:
            position, y = x, y + 17
        draw.text((position, y), text, fill=GOOD if name in truth["labels"] else BAD, font=font)
        position += round(draw.textlength(text, font))
    if not said:
        draw.text((x, y), "none of the classes", fill=BAD if truth["labels"] else GOOD, font=font)
    missed = [name for name in truth["labels"] if name not in said]
    if missed:
        draw.text((x, y + 18), f"missed: {', '.join(missed)}", fill=FAINT, font=font)
