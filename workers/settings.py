"""Environment variables `CCD_*` -> Settings, read once and passed in."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from workers.fault_points import Fault, read_faults

#: What may name a submitter: it is a part of keys in Redis.
SUBMITTER_PATTERN = r"^[A-Za-z0-9._@-]{1,64}$"
MIN_WEIGHT, MAX_WEIGHT = 0.001, 1000
#: What redis-py understands; workers/queue.py translates it for Celery.
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")


def _split_paths(value: object) -> object:
    """`/a:/b` -> ["/a", "/b"], split as PATH is on this system."""
    return [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value


def _split_commas(value: object) -> object:
    return value.split(",") if isinstance(value, str) else value


def _read_faults(value: object) -> object:
    return read_faults(value) if isinstance(value, str) else value


def _split_shares(value: object) -> object:
    """`ann=2,bob=0.5` -> {"ann": 2, "bob": 0.5}."""
    if not isinstance(value, str):
        return value
    shares: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in value.split(","))):
        name, mark, weight = (text.strip() for text in part.rpartition("="))
        if not mark:
            raise ValueError(f"{part!r} must be name=weight, for example ann=2")
        if name in shares:
            raise ValueError(f"{name} is given twice")
        try:
            shares[name] = float(weight)
        except ValueError:
            raise ValueError(f"the weight of {name} must be a number, is {weight!r}") from None
    return shares


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Wait = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Shares = Annotated[dict[str, float], NoDecode, BeforeValidator(_split_shares)]


#: How far a worker steps back behind the API where both want a core: who asks waits for the answer.
NICENESS = 5


class Settings(BaseSettings):
    """Every knob of the API and of the workers."""

    model_config = SettingsConfigDict(env_prefix="CCD_", extra="ignore", frozen=True)

    #: Data folder: datasets, jobs, phases, staging, weights. Made when missing.
    data: Path = Path("ccd-data")
    #: Redis or Valkey as redis-py names it: redis://, rediss:// or unix://. None: `ccd serve`
    #: starts its own.
    redis_url: str | None = None
    #: Folders on the server that a dataset may be registered from, separated as in PATH.
    allowed_roots: Annotated[list[Path], NoDecode, BeforeValidator(_split_paths)] = []
    #: Folder with model weights. None: `weights` in the data folder.
    weights: Path | None = None

    #: How long a claim holds without renewal, in seconds.
    lease_seconds: Seconds = 60
    #: How often a worker renews its claim and writes progress, in seconds.
    heartbeat_seconds: Seconds = 1
    #: How long progress may stand still before a worker ends itself, in seconds, in every phase.
    #: None: as workers/stalls.py has it for each.
    stall_seconds: Seconds | None = None
    #: How long a unit may take to stop that is cancelled, or whose worker drains, before its worker
    #: gives it back and ends itself, in seconds. Less than the time until SIGKILL.
    stop_seconds: Seconds = 20
    #: How often lost work is looked for, in seconds.
    reap_seconds: Seconds = 5
    #: How often one unit may lose its worker before its record fails.
    max_attempts: int = Field(default=3, ge=1)
    #: Wait before the second, third, ... attempt, in seconds; the last value repeats.
    backoff_seconds: Annotated[
        tuple[Wait, ...], NoDecode, BeforeValidator(_split_commas), Field(min_length=1)
    ] = (30, 300)

    #: Shares of the workers by submitter, as in `ann=2,bob=0.5`; 1 for those not named. The same
    #: for every process of the service.
    shares: Shares = {}
    #: How long a job waits until it goes before jobs of the next priority that come then, in
    #: seconds. At most 30 days.
    ageing_seconds: Annotated[float, Field(gt=0, le=30 * 24 * 3600)] = 24 * 3600

    #: Distinct images in one unit of `embed` and of `localize`; more where a job would have too
    #: many units.
    shard_images: int = Field(default=1000, ge=1)
    #: Threads of torch and of decoding. None: as many as there are cores.
    threads: int | None = Field(default=None, ge=1)
    #: Where the networks run; `auto` takes a GPU where there is one.
    device: str = Field(default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")

    #: Largest image that is decoded, in pixels.
    max_pixels: int = Field(default=50_000_000, ge=1)
    #: Largest upload, in bytes.
    max_upload_bytes: int = Field(default=20_000_000_000, ge=1)
    #: Largest sum of the unpacked sizes of an archive, in bytes.
    max_archive_bytes: int = Field(default=50_000_000_000, ge=1)
    #: Most members of an archive.
    max_archive_members: int = Field(default=200_000, ge=1)
    #: Largest unpacked size of one member divided by its packed size.
    max_archive_ratio: float = Field(default=200, ge=1)
    #: Share of unusable files in [0, 1] above which a dataset fails.
    max_bad_fraction: float = Field(default=0.2, ge=0, le=1)

    #: Whether every call needs a key. Without keys everybody may do everything.
    auth: bool = True
    #: Calls a second that a key may make for long, in each process of the API; 0: no limit.
    rate_requests: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    #: Calls that a key may make at once where it has made none for a while.
    rate_burst: int = Field(default=100, ge=1)
    #: Calls a minute with a wrong key, or none, that an address may make; 0: no limit.
    rate_failures: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 60
    #: Streams of events that a key may have open, in each process of the API; 0: no limit.
    max_streams_per_key: int = Field(default=2000, ge=0)
    #: Bytes that the uploads of a project may have; 0: no limit.
    quota_bytes: int = Field(default=0, ge=0)
    #: Images that the datasets of a project may have; 0: no limit.
    quota_images: int = Field(default=0, ge=0)
    #: Jobs of a project that may wait or run at a time; 0: no limit.
    quota_jobs: int = Field(default=0, ge=0)
    #: Addresses of proxies whose X-Forwarded-For is believed, as in 10.0.0.1,10.1.0.0/16.
    trusted_proxies: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)] = ()

    #: Address that the API binds.
    host: str = "127.0.0.1"
    #: Port that the API binds.
    port: int = Field(default=8000, ge=1, le=65535)
    #: `auto` is console in a terminal and JSON elsewhere.
    log_format: Literal["auto", "console", "json"] = "auto"

    #: Faults that are put into this service on purpose, for tests: see workers/fault_points.py.
    faults: Annotated[tuple[Fault, ...], NoDecode, BeforeValidator(_read_faults)] = ()

    @property
    def fault_marks(self) -> Path:
        """Where a fault that happened leaves its mark."""
        return self.data / "faults"

    @property
    def weights_folder(self) -> Path:
        return self.weights or self.data / "weights"

    @field_validator("data", "weights")
    @classmethod
    def _make_absolute(cls, path: Path | None) -> Path | None:
        return path.expanduser().absolute() if path else path

    @field_validator("redis_url")
    @classmethod
    def _check_scheme(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(REDIS_SCHEMES):
            raise ValueError(f"must start with {', '.join(REDIS_SCHEMES)}")
        return url

    @field_validator("shares")
    @classmethod
    def _check_shares(cls, shares: dict[str, float]) -> dict[str, float]:
        for name, weight in shares.items():
            if not re.fullmatch(SUBMITTER_PATTERN, name):
                raise ValueError(
                    f"{name!r} names no submitter: 1 to 64 letters, digits, '.', '_', '-', '@'"
                )
            if not MIN_WEIGHT <= weight <= MAX_WEIGHT:
                raise ValueError(
                    f"the weight of {name} must lie in [{MIN_WEIGHT}, {MAX_WEIGHT}], is {weight:g}"
                )
        return shares

    @field_validator("allowed_roots")
    @classmethod
    def _resolve_roots(cls, roots: list[Path]) -> list[Path]:
        return [_existing_folder(root) for root in roots]

    @model_validator(mode="after")
    def _lease_outlives_heartbeat(self) -> Self:
        if self.lease_seconds < 2 * self.heartbeat_seconds:
            raise ValueError(
                f"lease_seconds must be at least twice heartbeat_seconds "
                f"({self.heartbeat_seconds:g}), is {self.lease_seconds:g}"
            )
        return self


def _existing_folder(path: Path) -> Path:
    """Resolved with its links, so that a later containment test compares real paths."""
    try:
        resolved = path.expanduser().resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{path} cannot be resolved ({error}); name existing folders") from error
    if not resolved.is_dir():
        raise ValueError(f"{path} is not a folder; name existing folders")
    return resolved
