"""The command line of the experiments: `python -m workers.experiments.main`, or `ccd reproduce`."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from models.config import PRESETS, RULES, ConfigError
from models.data import ImageChanged
from models.teacher import TeacherError
from workers.epochs import TrainingDiverged
from workers.experiments import ablation, alpha, headline, views
from workers.experiments.benchmarks import BENCHMARKS
from workers.experiments.inputs import NotUsable
from workers.experiments.orders import Order, headline_order, order_of
from workers.experiments.session import Experiment, reproduce
from workers.hardware import refusal
from workers.sandbox import usable_cores
from workers.truth.truth import TruthError

EXPERIMENTS: dict[str, Experiment] = {
    experiment.NAME: experiment for experiment in (views, ablation)
}
#: Experiments on a folder, and what each is about.
ABOUT = {module.NAME: module.__doc__ for module in (views, ablation, alpha)}
HEADLINE = "headline"

#: What a user can mend; each says how.
REFUSALS = (NotUsable, TruthError, ConfigError, TeacherError, ImageChanged, TrainingDiverged)
#: Exit codes: a wrong command line or data that cannot be used; interrupted.
EXIT_REFUSED, EXIT_INTERRUPTED = 2, 130


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    top = argparse.ArgumentParser(
        prog="ccd reproduce",
        description="The paper's experiments on images whose truth is known. What is computed is "
        "kept in the work folder: killed and started again, a command goes on.",
    )
    commands = top.add_subparsers(dest="experiment", required=True)
    for name, about in ABOUT.items():
        command = _command(commands, name, about)
        command.add_argument("folder", help="the images; {seed} stands for the seed")
        command.add_argument("--truth", required=True, help="what is true of them, any format")
        command.add_argument("--split", help="of the truth, such as train (VOC, NUS-WIDE)")
        command.add_argument("--test", help="images that students are measured on [the same]")
        command.add_argument("--test-truth", help="what is true of those")
        command.add_argument("--test-split", help="such as val")
        if name == alpha.NAME:
            command.add_argument("--alphas", type=float, nargs="+", default=list(alpha.ALPHAS))
        _add_common(command)
    command = _command(commands, HEADLINE, headline.__doc__)
    command.add_argument("benchmark", choices=list(BENCHMARKS))
    command.add_argument("folder", type=Path, help="the benchmark as it is distributed")
    command.add_argument(
        "--baseline", action="store_true", help="train a student of CDUL's labels too"
    )
    _add_common(command)
    return top


def _command(commands: Any, name: str, docstring: str | None) -> argparse.ArgumentParser:
    about = str(docstring).split(":", 1)[1].strip()
    command: argparse.ArgumentParser = commands.add_parser(name, help=about, description=about)
    return command


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--classes", help="names of the truth, or name=what to ask for; comma")
    command.add_argument("--preset", choices=list(PRESETS), default="paper")
    command.add_argument("--config", action="append", default=[], metavar="NAME=VALUE")
    command.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    command.add_argument("--out", type=Path, default=Path("ccd-results"))
    command.add_argument("--work", type=Path, default=Path("ccd-work"))
    command.add_argument("--threads", type=_threads, default=usable_cores())
    command.add_argument("--device", type=_device, default="auto", help="auto, cpu, cuda, cuda:1")
    command.add_argument("--weights", type=Path, help="folder with weights of teacher and student")


def _threads(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, is {text!r}")
    return int(text)


def _device(text: str) -> str:
    if reason := refusal(text):
        raise argparse.ArgumentTypeError(
            f"must be auto, cpu, cuda or cuda:1, and be there, is {text!r}: {reason}"
        )
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one experiment; the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    asked = parser().parse_args(given)
    command = shlex.join(["ccd", "reproduce", *given])
    torch.set_num_threads(asked.threads)
    try:
        experiment, order = _asked(asked, command)
        reproduce(experiment, order, say=_say)
    except REFUSALS as error:
        hint = getattr(error, "hint", None)
        print(f"ccd reproduce: {error}{f'. {hint}' if hint else ''}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        print("ccd reproduce: interrupted; the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _asked(asked: argparse.Namespace, command: str) -> tuple[Experiment, Order]:
    if asked.experiment == alpha.NAME:
        return alpha.Sweep(_checked(asked.alphas)), order_of(vars(asked), command)
    if asked.experiment != HEADLINE:
        return EXPERIMENTS[asked.experiment], order_of(vars(asked), command)
    benchmark = BENCHMARKS[asked.benchmark]
    name = headline.name_of(asked.benchmark)
    experiment = headline.Headline(name, benchmark, with_baseline=asked.baseline)
    return experiment, headline_order(benchmark, vars(asked), command)


def _checked(alphas: Sequence[float]) -> Sequence[float]:
    for value in alphas:
        RULES["alpha"].check("alpha", value)
    return alphas


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
