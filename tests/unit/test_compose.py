"""The compose files and the Dockerfile keep what the rest of the project promises."""

import json
import re
from pathlib import Path

import pytest
import yaml

from app.standalone import STOP_API_SECONDS, STOP_WORKERS_SECONDS
from workers.jobs import Lane
from workers.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
BASE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
GPU = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
WORKERS = {name: one for name, one in BASE["services"].items() if name.startswith("worker-")}


def lane_of(command):
    return command[command.index("--lane") + 1]


def health_command(service):
    """That of the service, or of the image."""
    if "healthcheck" in service:
        kind, *command = service["healthcheck"]["test"]
        assert kind == "CMD"
        return command
    target = DOCKERFILE.split(f" AS {service['build']['target']}\n")[1].split("\nFROM ")[0]
    return json.loads(re.search(r"HEALTHCHECK [^\[]*CMD (\[.*\])", target)[1])


def gpus_of(service):
    [device] = service["deploy"]["resources"]["reservations"]["devices"]
    return device["device_ids"]


def test_each_lane_has_a_worker():
    assert {lane_of(one["command"]) for one in WORKERS.values()} == set(Lane)


@pytest.mark.parametrize("name", WORKERS)
def test_a_worker_is_asked_for_its_own_lane(name):
    command = health_command(WORKERS[name])

    assert command == [*WORKERS[name]["command"], "--check"]


def test_everything_has_the_time_to_stop_that_it_needs():
    grace = {
        name: float(one["stop_grace_period"].removesuffix("s"))
        for name, one in BASE["services"].items()
    }

    assert all(grace[name] > STOP_WORKERS_SECONDS for name in WORKERS)
    assert grace["api"] > STOP_API_SECONDS


def test_every_setting_that_is_named_is_one():
    services = [*BASE["services"].values(), *GPU["services"].values()]
    named = {name for one in services for name in one.get("environment", {})}

    assert "CCD_REDIS_URL" in named
    assert named <= {f"CCD_{name.upper()}" for name in Settings.model_fields}


def test_no_record_is_thrown_out_and_none_is_lost_in_memory():
    command = BASE["services"]["valkey"]["command"]
    flags = dict(zip(command[1::2], command[2::2], strict=True))

    assert flags["--maxmemory-policy"] == "noeviction"
    assert flags["--appendonly"] == "yes"
    assert flags["--maxmemory"] == "${CCD_REDIS_MEMORY:-2gb}"


def test_only_this_machine_reaches_what_asks_for_no_key():
    published = [port for one in BASE["services"].values() for port in one.get("ports", [])]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_each_gpu_has_one_worker_of_the_method():
    services = GPU["services"]
    gpus = [gpu for one in services.values() for gpu in gpus_of(one)]

    assert sorted(gpus) == [str(number) for number in range(len(services))]
    for one in services.values():
        assert one["environment"]["CCD_DEVICE"] == "cuda"
        assert ("profiles" in one) == (gpus_of(one) != ["0"])


def test_the_worker_of_each_further_gpu_is_that_of_the_first():
    base, first = WORKERS["worker-method"], GPU["services"]["worker-method"]
    expected = base | {"environment": base["environment"] | first["environment"]}
    further = [one for name, one in GPU["services"].items() if name != "worker-method"]

    assert further
    for one in further:
        own = {key: value for key, value in one.items() if key not in {"deploy", "profiles"}}
        assert own == expected


def test_no_service_that_depends_on_another_is_extended():
    """Compose 2.24 refuses that, and 2.32 drops what it depends on."""
    services = [*BASE["services"].values(), *GPU["services"].values()]

    assert [one for one in services if "extends" in one] == []
