"""The model card of a student: what it is, where it comes from, what it must not be trusted with.

Standard library only: the API writes it again when thresholds change.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

#: Raised when a reader of the old card would misread the new one.
FORMAT = {"name": "ccd-model-card", "version": 1}

CARD_JSON, CARD_MARKDOWN = "model-card.json", "model-card.md"

NOT_MEASURED = (
    "None could be measured: when this card was written nobody had given true labels, and without "
    "them neither scores nor thresholds can be called good or bad."
)
#: Of thresholds that were changed without an evaluation.
NOT_MEASURED_AGAIN = (
    "None were measured with these thresholds; an evaluation of the job, where there is one, has "
    "figures of its own."
)

#: How thresholds were found.
BASES = {
    "pseudo_f1": "the largest F1 against the job's own pseudo-labels; no true label was used",
    "tuned": "the largest F1 against true labels that were given",
    "manual": "set by hand",
}

#: What goes wrong with this method, whatever the images.
FAILURE_MODES = (
    "A class that the teacher cannot name, or knows by another meaning, it cannot teach.",
    "A score depends on the whole list of classes: beside others, a class has other scores.",
    "Images that show none of the classes tend to get one of them all the same.",
    "Classes that nearly always appear together, such as skis and snow, are learned as one.",
    "Objects of a few pixels are missed: crops are cut where the student already sees something.",
    "What the teacher confuses it teaches: the bias factors correct its answers only on average.",
    "Pictures unlike those it was trained on are beyond its experience.",
)

_LICENCES = {
    "bundled:tiny": "comes with this service; trained on scenes that its own code draws",
    "offline:lite0-minilm": "EfficientNet-Lite0 Apache-2.0; all-MiniLM-L6-v2 Apache-2.0",
}
_OPENAI = "MIT, as OpenAI published CLIP; its model card asks for tests before any deployment"
_UNKNOWN = "not known to this service: ask where the weights were published"

#: What Markdown would read as its own within a line.
_MARKUP = re.compile(r"[\\`*_\[\]|~]")


def teacher_licence(teacher: str) -> str:
    """Under which terms a teacher's weights may be used, as far as this service knows."""
    # A name with a source before it, such as `hf-hub:`, is whatever its owner called it.
    if teacher.endswith("/openai") and ":" not in teacher:
        return _OPENAI
    return _LICENCES.get(teacher, _UNKNOWN)


def with_thresholds(
    card: Mapping[str, Any],
    values: Mapping[str, float | None],
    *,
    basis: str,
    version: int,
    metrics: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The card with other thresholds, and with what was measured with them."""
    classes = [{**entry, "threshold": values[entry["name"]]} for entry in card["classes"]]
    thresholds = {"version": version, "basis": basis, "meaning": BASES[basis]}
    note = NOT_MEASURED if version == 1 else NOT_MEASURED_AGAIN
    measured = {"metrics": metrics, "metrics_note": None if metrics else note}
    return {**card, "classes": classes, "thresholds": thresholds, **measured}


def markdown(card: Mapping[str, Any]) -> str:
    """The card for people."""
    parts = [
        *("# Model card", _summary(card)),
        *("## Classes", _class_table(card)),
        *("## Quality", _quality(card)),
        *("## Known failure modes", _bullets(card["failure_modes"])),
        *("## Warnings of this job", _warnings(card["warnings"])),
        *("## Where it comes from", _origin(card)),
        *("## The ONNX file", _onnx(card["onnx"])),
        *("## Settings", _settings(card["config"])),
    ]
    return "\n\n".join(parts) + "\n"


def _summary(card: Mapping[str, Any]) -> str:
    how = card["preprocessing"]
    return (
        f"A multi-label image classifier for {len(card['classes'])} classes "
        f"({text(card['student'])}, {card['parameters']:,} parameters).\n"
        "It was trained by Classifier-guided CLIP Distillation (arXiv 2503.16873): nobody labelled "
        "an image for it.\n"
        f"Its input is an RGB picture squashed to {how['side']} x {how['side']} pixels; its output "
        "is one probability for each class."
    )


def _class_table(card: Mapping[str, Any]) -> str:
    rows = [
        (
            entry["name"],
            "; ".join(entry["prompts"]),
            _number(entry["threshold"], "never applies"),
            _number(entry["bias"]["factor"]),
            entry["bias"]["images"],
        )
        for entry in card["classes"]
    ]
    thresholds = card["thresholds"]
    return (
        f"A class applies from its threshold on. These are version {thresholds['version']}: "
        f"{thresholds['meaning']} (`{thresholds['basis']}`).\n"
        "The bias factor is the teacher's mean answer on images it is sure about, and the number "
        "of those; its answers were divided by it, 1 is no correction.\n\n"
        + _table(("class", "prompts", "threshold", "bias factor", "images behind it"), rows)
    )


def _quality(card: Mapping[str, Any]) -> str:
    if card["metrics"] is None:
        return str(card["metrics_note"])
    return _table(("measure", "value"), ((k, _number(v)) for k, v in card["metrics"].items()))


def _warnings(warnings: Sequence[Mapping[str, Any]]) -> str:
    found = _bullets([str(w.get("message", w["code"])) for w in warnings]) or "None."
    return f"{found}\n\nThe job's report is made after this card and may warn of more."


def _origin(card: Mapping[str, Any]) -> str:
    data, teacher, ran = card["data"], card["teacher"], card["code"]["fingerprint"]
    return _table(
        ("what", "which"),
        [
            ("images", f"{data['distinct']:,} that differ, of {data['accepted']:,} files"),
            ("digest of the images", data["images_digest"]),
            ("teacher", teacher["name"]),
            ("digest of its weights", teacher["digest"]),
            ("licence of its weights", teacher["licence"]),
            ("student starts from", card["starts_from"]),
            ("epoch that was chosen", card["training"]["selected_epoch"]),
            ("code", f"ccd-service {card['code']['version']}, method {ran['method']}"),
            ("torch, torchvision", f"{ran['torch']}, {ran['torchvision']}"),
            ("machine", f"{ran['device']}, {ran['machine']}, {ran['threads']} threads"),
        ],
    )


def _onnx(onnx: Mapping[str, Any]) -> str:
    if onnx["reason"] is not None:
        return f"There is none: {text(onnx['reason'])}."
    sizes = ", ".join(map(str, onnx["batch_sizes"]))
    return (
        f"`student.onnx` gives torch's probabilities within {onnx['largest_difference']:.1e}, "
        f"measured with onnxruntime {onnx['onnxruntime']} on {onnx['images']} images of the job "
        f"in batches of {sizes}."
    )


def _settings(config: Mapping[str, Any]) -> str:
    """As JSON has them, so that they can be given to a job again."""
    rows = ((name, json.dumps(value, ensure_ascii=False)) for name, value in config.items())
    return _table(("setting", "value"), rows)


def _bullets(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {text(sentence)}" for sentence in sentences)


def _table(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [titles, ["---"] * len(titles), *([text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float | None, none: str = "") -> str:
    return none if value is None else f"{value:.6g}"


def text(value: object) -> str:
    """`value` as text that Markdown shows as it is, whatever a class is called."""
    plain = str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\g<0>", plain.replace("\n", " "))
