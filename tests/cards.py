"""A model card as the phase `export` writes it, before its thresholds."""

from workers import model_card


def card_of(*names, **changes):
    """The card of a student of these classes; the bias of each is 0.5, behind it 12 images."""
    return {
        "student": "resnet18",
        "parameters": 11_000_000,
        "preprocessing": {"side": 224},
        "classes": [
            {"name": name, "prompts": [], "bias": {"factor": 0.5, "images": 12}} for name in names
        ],
        "failure_modes": list(model_card.FAILURE_MODES),
        "config": {"alpha": 0.4, "templates": ["a photo of the {}"]},
        "data": {
            "images_digest": "abc",
            "accepted": 1200,
            "distinct": 1100,
            "formats": {"JPEG": 1200},
        },
        "teacher": {"name": "bundled:tiny", "digest": "def", "licence": "free"},
        "starts_from": "imagenet weights",
        "training": {"selected_epoch": 3},
        "warnings": [],
        "code": {
            "version": "0.1.0",
            "fingerprint": {
                "method": 1,
                "torch": "2",
                "torchvision": "0",
                "machine": "x86_64",
                "device": "cpu",
                "threads": 2,
            },
        },
        "onnx": {
            "reason": None,
            "largest_difference": 2.4e-7,
            "images": 16,
            "batch_sizes": [1, 5, 16],
            "onnxruntime": "1.0",
        },
        **changes,
    }
