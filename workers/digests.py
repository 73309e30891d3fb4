"""Digests that name outputs after their inputs."""

import hashlib
import json


def digest_of(*inputs: object) -> str:
    """32 hex digits that stand for `inputs`, which JSON can hold."""
    text = json.dumps(inputs, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
