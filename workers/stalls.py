"""How long a unit may show no progress before its process is taken to hang, phase by phase."""

from workers.settings import Settings

#: Where the table below has no row: one batch, or one file, takes seconds.
USUAL_SECONDS = 900.0

#: Longer than anything that was seen to end by itself, shorter than a night.
STALL_SECONDS = {
    "check": 7200.0,  # fetches weights without a word: 4 GB at 5 Mbit/s take 1 h 50 min
    "register": 900.0,  # a file is reported every few ms; a network's file system may hang minutes
    "embed": 900.0,  # the first batch waits for the teacher to load from a cold disk
    "debias": 3600.0,  # one step over all images: a million of them are read, multiplied, written
    "warm_up": 1800.0,  # after its last batch it ranks all predictions and saves the student
    "localize": 900.0,  # eight full-size images decoded, and their crops
    "update": 3600.0,  # as debias
    "train": 1800.0,  # as warm_up
    "score": 1800.0,  # after its last batch a threshold is searched for every class
    "export": 1800.0,  # the ONNX file is built before the first image is compared
    "report": 3600.0,  # pairs of classes are counted over all images before the first picture
    "predict": 900.0,  # as embed
    "evaluate": 3600.0,  # reports once a stage, each of which sorts all images for every class
    "export_labels": 900.0,  # reports every few thousand rows, or every image; may hash the inputs
    "cam": 900.0,  # one image
}


def stall_seconds(phase: str, settings: Settings) -> float:
    """The limit of a phase; the setting replaces all of them."""
    return settings.stall_seconds or STALL_SECONDS.get(phase, USUAL_SECONDS)
