"""A folder, an archive or uploaded files become a dataset: every file decoded once, one list."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workers.files import SKIPPED, SOURCE, DataFolder, read_json, write_json
from workers.jobs import Kind
from workers.listing import Listing
from workers.paths import FileRefused
from workers.sandbox import DECODER, Sandbox, usable_cores
from workers.settings import Settings
from workers.sources import UPLOADS, Source, source_of

#: What the record says of a dataset, kept beside its list.
FACTS = "facts.json"
#: What is taken, told apart by content: `models.images.FORMATS`, which needs the heavy half.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
#: Folders that a message names.
MAX_NAMED = 3


class RegisterFailed(Exception):
    """The source makes no dataset: `no_images` or `too_many_bad_images`."""

    def __init__(self, code: str, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


def register(
    dataset_id: str,
    request: Mapping[str, Any],
    *,
    folder: DataFolder,
    nonce: str,
    settings: Settings,
    on_files: Callable[[int, int], None],
    decoder: str = DECODER,
) -> dict[str, Any]:
    """Publish the dataset; the facts for its record.

    A dataset that is published already is not registered again. An upload is deleted at the end.

    Args:
        dataset_id: names the folder of the result.
        request: `source` is {"kind": "folder", "path"}, {"kind": "folders", "paths"} or {"kind":
            "list", "paths" or "file"} (all on the server), {"kind": "archive", "path"} (a zip
            file) or {"kind": "files", "path"} (a folder with `names.ndjson`); an upload's path may
            be relative to the dataset's own folder. `max_bad_fraction` replaces the setting.
        folder: the data folder.
        nonce: of the claim.
        settings: limits, allowed roots, number of decoding children.
        on_files: told how many files are done, and of how many (0: they are being counted); what
            it raises stops the registration.
        decoder: see `Sandbox`.

    Raises:
        RegisterFailed: no image, or too many bad ones; the skipped files stay listed.
        ArchiveRejected: the archive is damaged or a bomb.
        PathNotAllowed: the folder is no longer there, or no longer allowed.
        DiskFull: nothing is published.
    """
    own = folder.of(Kind.DATASET, dataset_id)
    final = folder.dataset(dataset_id)
    if not folder.is_complete(final):
        with folder.staging(nonce) as staging:
            source = source_of(request["source"], own, staging, settings)
            sandbox = Sandbox(
                max_pixels=settings.max_pixels,
                children=settings.threads or usable_cores(),
                decoder=decoder,
            )
            with sandbox, Listing(staging) as listing:
                _inspect(source, sandbox, listing, on_files)
            _check_usable(listing, request, settings, staging, own)
            _write_facts(staging, source, listing)
            folder.publish(staging, final)
    facts: dict[str, Any] = read_json(final / FACTS)
    if request["source"]["kind"] in UPLOADS:
        folder.discard(own / request["source"]["path"])
    return facts


def _inspect(
    source: Source, sandbox: Sandbox, listing: Listing, on_files: Callable[[int, int], None]
) -> None:
    total = source.count(lambda: on_files(0, 0))
    for done, (file, verdict) in enumerate(sandbox.verdicts(source.files()), start=1):
        if isinstance(verdict, FileRefused):
            listing.skip(file, verdict)
            source.settle(file, None)
        else:
            source.settle(file, listing.add(file, verdict))
        on_files(done, total)


def _check_usable(
    listing: Listing, request: Mapping[str, Any], settings: Settings, staging: Path, own: Path
) -> None:
    """Refuse a dataset that is empty or mostly broken; the list of skipped files stays."""
    try:
        _check_counts(listing, request, settings)
    except RegisterFailed:
        (staging / SKIPPED).replace(own / SKIPPED)
        raise


def _check_counts(listing: Listing, request: Mapping[str, Any], settings: Settings) -> None:
    facts = listing.facts()
    accepted, bad = facts["counts"]["accepted"], listing.bad
    if not accepted:
        raise RegisterFailed(
            "no_images",
            f"none of the {facts['counts']['found']} files{_place(request['source'])} is an image "
            f"that can be used{_listed(facts['reasons'])}",
            hint=f"files of the formats {', '.join(FORMATS)} are taken, whatever their names, in "
            "the folders below too; the list of skipped files gives a reason for each",
        )
    allowed = request.get("max_bad_fraction")
    allowed = settings.max_bad_fraction if allowed is None else allowed
    if bad > allowed * (bad + accepted):
        raise RegisterFailed(
            "too_many_bad_images",
            f"{bad} of {bad + accepted} images cannot be used{_listed(facts['reasons'])}, "
            f"at most {allowed:.0%} may be unusable",
            hint="the list of skipped files gives a reason for each; max_bad_fraction in the "
            "request allows more of them",
        )


def _place(source: Mapping[str, Any]) -> str:
    """The folders as they were named; where an upload lies is nobody's business."""
    if source["kind"] not in {"folder", "folders"}:
        return ""
    paths = source.get("paths") or [source["path"]]
    more = f" and {len(paths) - MAX_NAMED} more" if len(paths) > MAX_NAMED else ""
    return f" in {', '.join(paths[:MAX_NAMED])}{more}"


def _listed(reasons: Mapping[str, int]) -> str:
    text = ", ".join(f"{code} {count}" for code, count in reasons.items())
    return f" ({text})" if text else ""


def _write_facts(staging: Path, source: Source, listing: Listing) -> None:
    facts = listing.facts()
    facts["counts"]["ignored"] = source.ignored
    write_json(staging / FACTS, facts)
    write_json(staging / SOURCE, {"root": source.root})
    if source.root is None:
        os.sync()  # all images at once: an fsync takes 3.4 ms, for 10,000 images half a minute
