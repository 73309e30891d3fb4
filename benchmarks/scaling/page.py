"""docs/scaling.md from docs/scaling.json: no figure in it is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from benchmarks.scaling.costs import (
    ASSUMED_FLOPS,
    SHARD_IMAGES,
    SHARDED,
    Shape,
    bytes_per_image,
    flops_per_image,
    folders,
    hours,
    redis_bytes,
    units,
)
from benchmarks.scaling.memory import FEW, MANY
from models.config import PRESETS
from workers.experiments.report import heading, row
from workers.phases import MAX_SHARDS, shard_size

COSTS, DOCUMENT = Path("docs/scaling.json"), Path("docs/scaling.md")
#: The page's words; every figure is put in.
TEMPLATE = Path(__file__).with_name("page.md.j2")

#: Images and workers that the page is about.
IMAGES, WORKERS = (1_000_000, 100_000_000), (1, 8, 64)
#: Presets for a GPU, and classes of the sizes that are told.
GPU_PRESETS, CLASSES = ("fast", "balanced", "paper"), 80
#: Those that take every image in hand.
IMAGE_BY_IMAGE = ("register", "embed", "warm_up", "localize", "train", "score")
#: Of a large machine, in bytes.
MEMORY = 128e9
NOT_RUN = "not run"


def document(costs: Mapping[str, Any]) -> str:
    """The page."""
    environment = Environment(  # noqa: S701 - Markdown, from our own files
        loader=FileSystemLoader(TEMPLATE.parent), undefined=StrictUndefined, trim_blocks=True
    )
    return (
        environment.get_template(TEMPLATE.name).render(
            costs=costs,
            origins=origins(costs),
            speed_table=speed_table(costs["speeds"]),
            gpu_commands=gpu_commands(),
            time_tables=[time_table(costs, count) for count in IMAGES],
            flops_table=flops_table(costs["flops"]),
            gpu_time_tables=[gpu_time_table(costs["flops"], count) for count in IMAGES],
            feeding_table=feeding_table(costs),
            bytes_table=bytes_table(costs),
            memory_table=memory_table(costs["memory"]),
            redis_table=redis_table(costs["redis"]),
            files_table=files_table(),
            images=[f"{count:,}" for count in IMAGES],
            workers=WORKERS,
            shard_images=SHARD_IMAGES,
            max_shards=f"{MAX_SHARDS:,}",
            tflops=ASSUMED_FLOPS / 1e12,
            train_share=train_share(costs["flops"]),
            size=size,
            first=first_to_break(costs["memory"]["cases"]),
            memory_range=[f"{count:,}" for count in (FEW, MANY)],
            memory_size=size(MEMORY),
        )
        + "\n"
    )


# Time


def speed_table(speeds: Mapping[str, Any]) -> str:
    """Milliseconds an image costs one worker in one pass, by phase."""
    columns = [
        *speeds,
        *(f"{preset} gpu" for preset in GPU_PRESETS if f"{preset} gpu" not in speeds),
    ]
    lines = heading(
        [
            "ms an image, one pass",
            *(f"`{name.split()[0]}`, {name.split()[1].upper()}" for name in columns),
        ]
    )
    for phase in (*IMAGE_BY_IMAGE, "threshold", "decode", "decode_original"):
        cells = [
            f"{1000 * speeds[name]['seconds'][phase]:.3g}" if name in speeds else NOT_RUN
            for name in columns
        ]
        lines.append(row([SPEED_NAMES.get(phase, f"`{phase}`"), *cells]))
    return "\n".join(lines)


SPEED_NAMES = {
    "warm_up": "`warm_up`, an epoch",
    "train": "`train`, an epoch",
    "threshold": "`warm_up`, the class threshold",
    "decode": "of these: decoding for `embed`",
    "decode_original": "of these: decoding at full size for `localize`",
}


def gpu_commands() -> str:
    """What would fill the empty columns."""
    return "\n".join(
        f"python -m benchmarks.scaling speed --preset {preset} --device cuda --threads 8 "
        "--images 2000"
        for preset in GPU_PRESETS
    )


def time_table(costs: Mapping[str, Any], images: int) -> str:
    """Hours of each phase by number of workers."""
    speed, cases = costs["speeds"]["offline cpu"], costs["memory"]["cases"]
    # On a hundred images these two are all beginning and end.
    seconds = {**speed["seconds"], **{of: cases[of]["seconds"] for of in ("debias", "update")}}
    config = PRESETS[speed["preset"]]
    by_workers = {workers: hours(seconds, config, images, workers) for workers in WORKERS}
    return _times(by_workers, images)


def gpu_time_table(flops: Mapping[str, Any], images: int) -> str:
    """The same of `balanced`, reckoned from operations."""
    config = PRESETS["balanced"]
    each = flops_per_image(config, flops["balanced"], config.classes_per_image)
    by_workers = {
        workers: {
            phase: count * images / ASSUMED_FLOPS / (workers if phase in SHARDED else 1) / 3600
            for phase, count in each.items()
        }
        for workers in WORKERS
    }
    return _times(by_workers, images)


def _times(by_workers: Mapping[int, Mapping[str, float]], images: int) -> str:
    lines = heading(
        [
            f"{images:,} images",
            "1 worker",
            *(f"{workers} workers" for workers in list(by_workers)[1:]),
        ]
    )
    for phase in next(iter(by_workers.values())):
        lines.append(
            row([f"`{phase}`", *(duration(found[phase]) for found in by_workers.values())])
        )
    totals = (sum(found.values()) for found in by_workers.values())
    lines.append(row(["**all**", *(duration(total) for total in totals)]))
    return "\n".join(lines)


def train_share(flops: Mapping[str, Any]) -> dict[int, str]:
    """Workers -> the share of the two trainings in the time of `balanced`, by operations."""
    config = PRESETS["balanced"]
    each = flops_per_image(config, flops["balanced"], config.classes_per_image)
    shares = {}
    for workers in WORKERS:
        spent = {p: count / (workers if p in SHARDED else 1) for p, count in each.items()}
        shares[workers] = f"{100 * (spent['warm_up'] + spent['train']) / sum(spent.values()):.0f} %"
    return shares


def flops_table(flops: Mapping[str, Any]) -> str:
    """Operations of an image over a whole job."""
    phases = ("embed", "warm_up", "localize", "train", "score")
    lines = heading(["GFLOP an image, all epochs", *(f"`{phase}`" for phase in phases), "all"])
    for preset, counted in flops.items():
        config = PRESETS[preset]
        each = flops_per_image(config, counted, config.classes_per_image)
        cells = [f"{each[phase] / 1e9:,.1f}" for phase in phases]
        lines.append(row([f"`{preset}`", *cells, f"{sum(each.values()) / 1e9:,.0f}"]))
    return "\n".join(lines)


def feeding_table(costs: Mapping[str, Any]) -> str:
    """Cores that would have to decode for one GPU in `embed`."""
    decode = costs["speeds"]["offline cpu"]["seconds"]["decode"]
    lines = heading(["preset", "images a second a GPU could embed", "cores to decode them"])
    for preset in GPU_PRESETS:
        rate = ASSUMED_FLOPS / costs["flops"][preset]["teacher"]
        lines.append(row([f"`{preset}`", f"{rate:,.0f}", f"{rate * decode:,.1f}"]))
    return "\n".join(lines)


# Room


def bytes_table(costs: Mapping[str, Any]) -> str:
    """What an image leaves on disk."""
    shapes = {
        preset: Shape(
            CLASSES, costs["flops"][preset]["features"], PRESETS[preset].classes_per_image
        )
        for preset in ("offline", "balanced")
    }
    manifest = costs["memory"]["manifest"]
    titles = (f"`{preset}`, {CLASSES} classes" for preset in shapes)
    lines = heading(["bytes an image", *titles, *(f"`balanced`, {count:,}" for count in IMAGES)])
    found = {
        preset: {"two manifests": 2 * manifest} | bytes_per_image(shape)
        for preset, shape in shapes.items()
    }
    for part in found["balanced"]:
        each = [found[preset][part] for preset in shapes]
        name = part if part == "two manifests" else f"`{part}`"
        lines.append(row([name, *(f"{value:,.0f}" for value in each), *_at_scale(each[-1])]))
    sums = [sum(found[preset].values()) for preset in shapes]
    lines.append(row(["**all**", *(f"{value:,.0f}" for value in sums), *_at_scale(sums[-1])]))
    return "\n".join(lines)


def memory_table(memory: Mapping[str, Any]) -> str:
    """What a process holds at once, and for how long it computes."""
    at_scale = (f"{count:,}" for count in IMAGES)
    lines = heading(["where", "bytes an image", *at_scale, f"time for {IMAGES[0]:,}"])
    for case, found in memory["cases"].items():
        time = duration(found["seconds"] * IMAGES[0] / 3600)
        cells = [f"{found['bytes']:,.0f}", *_at_scale(found["bytes"]), time]
        lines.append(row([CASE_NAMES[case], *cells]))
    return "\n".join(lines)


def first_to_break(cases: Mapping[str, Mapping[str, float]]) -> Mapping[str, Any]:
    """The case that takes most memory, its bytes an image, and what fits into `MEMORY`."""
    case = max(cases, key=lambda name: cases[name]["bytes"])
    each = cases[case]["bytes"]
    return {
        "name": CASE_NAMES[case],
        "million": size(1e6 * each),
        "fit": f"{MEMORY / each / 1e6:.0f}",
    }


CASE_NAMES = {
    "register": "`register`: digests seen, to find copies",
    "files": "paths and digests, in every worker of the dataset",
    "debias": "`debias`",
    "update": "`update`",
    "epoch": "an epoch of `warm_up` or `train`, without images and steps",
    "thresholds": "the thresholds at the end of `score`",
    "report": "`report`",
}


def redis_table(redis: Mapping[str, Any]) -> str:
    """What a job at work takes in Redis."""
    found = redis["by_units"]
    lines = heading(["one job", *(f"{cost['units']:,} units" for cost in found)])
    rows = {
        "bytes of an open unit": "open_unit",
        "bytes of a done unit": "output",
        "bytes of its events and its log": "told",
    }
    for name, key in rows.items():
        lines.append(row([name, *(f"{cost[key]:,.0f}" for cost in found)]))
    most = [redis_bytes(cost) for cost in found]
    lines.append(row(["at its largest (`embed` done, `localize` open)", *map(size, most)]))
    times = {
        "opening the phase, one script": "opening_ms",
        "claiming and recording one unit, two scripts": "unit_ms",
        "reading the names of all outputs": "outputs_ms",
    }
    for name, key in times.items():
        lines.append(row([name, *(f"{cost[key]:,.1f} ms" for cost in found)]))
    return "\n".join(lines)


def files_table() -> str:
    """Folders below `phases`."""
    names = ["images of a job", "images a unit", "units of `embed` and of `localize`", "folders"]
    lines = heading(names)
    for count in IMAGES:
        size_, each = shard_size(count, SHARD_IMAGES), units(count)
        found = folders(count, PRESETS["balanced"])
        lines.append(row([f"{count:,}", f"{size_:,}", f"{each:,} each", f"{found:,}"]))
    return "\n".join(lines)


def origins(costs: Mapping[str, Any]) -> str:
    """When, where and by what each cost was measured."""
    measured: dict[str, Mapping[str, Any]] = {
        **{f"speed, {name}": speed for name, speed in costs["speeds"].items()},
        "memory": costs["memory"],
        "redis": costs["redis"],
    }
    lines = heading(["measured", "date", "commit", "on"])
    for name, found in measured.items():
        where = found["processor"]
        if "threads" in found:
            where = (
                f"{found['device']}, {found['threads']} threads, {found['images']} photos; {where}"
            )
        lines.append(row([name, found["date"], found["commit"], where]))
    return "\n".join(lines)


# Numbers for people


def _at_scale(each: float) -> list[str]:
    return [size(each * count) for count in IMAGES]


def size(bytes_: float) -> str:
    """`1.5 GB`."""
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if bytes_ >= unit:
            return f"{bytes_ / unit:.3g} {name}"
    return f"{bytes_ / 1e3:.3g} kB"


def duration(hours_: float) -> str:
    """`3.2 h`, or the unit that suits."""
    steps: Sequence[tuple[float, str]] = (
        (24 * 365.25, "years"),
        (24, "days"),
        (1, "h"),
        (1 / 60, "min"),
    )
    for unit, name in steps:
        if hours_ >= 2 * unit:
            return f"{hours_ / unit:,.1f} {name}"
    return f"{hours_ * 3600:.3g} s"
