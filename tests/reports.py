"""A made-up job whose report is quickly made, with names that are markup."""

from dataclasses import replace

from PIL import Image

from benchmarks.made_up import CONFIG, MadeUp, random_answers

#: What must stay text: a file's name and a class's.
EVIL_FILE = "<img src=x onerror=alert(1)>.jpg"
EVIL_CLASS = "</script><b>"
CLASSES = ["zebra", EVIL_CLASS, "Ant"]
COUNT = 150
#: A student that looks quickly.
QUICK = replace(CONFIG, student_size=32, cam_size=64)


def pictures_in(folder):
    folder.mkdir()
    names = []
    for index, name in enumerate((EVIL_FILE, "plain.png")):
        image = Image.effect_noise((120 + 40 * index, 80), 60).convert("RGB")
        image.save(folder / name)
        names.append(name.encode())
    return names


def made_up(folder, *, classes=CLASSES, count=COUNT, **changes):
    scores, teacher = random_answers(count, len(classes))
    made = MadeUp(
        classes=classes,
        pictures=pictures_in(folder / "pictures"),
        root=folder / "pictures",
        count=count,
        scores=scores,
        teacher=teacher,
        shard=40,
    )
    return replace(made, **changes)
