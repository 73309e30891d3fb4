"""What is sent again, after which pause, and what is not."""

from contextlib import suppress

import httpx
import pytest

from ccd_client import (
    Client,
    Patience,
    ServiceUnreachable,
    TooManyRequests,
    Unavailable,
    UnexpectedAnswer,
)
from ccd_client.retries import Tries
from scripted import HANGS_UP, JOB, QUICK, says

AWAY = says({"code": "redis_unavailable", "detail": "away"}, 503)


def test_reading_goes_on_once_the_service_is_back(scripted, client):
    scripted.will(HANGS_UP, AWAY, says(JOB))

    assert client.jobs.get("job_1").id == "job_1"
    assert len(scripted.requests) == 3


def test_what_is_created_is_sent_again_under_the_same_key(scripted, client):
    scripted.will(HANGS_UP, AWAY, says(JOB, 202))

    client.jobs.create(dataset="ds_1", classes=["cat"])

    keys = [request.headers["idempotency-key"] for request in scripted.requests]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_two_creations_have_two_keys(scripted, client):
    scripted.will(says(JOB, 202))

    for _ in range(2):
        client.jobs.create(dataset="ds_1", classes=["cat"])

    assert len({request.headers["idempotency-key"] for request in scripted.requests}) == 2


def test_a_creation_has_the_key_that_was_chosen(scripted, client, tmp_path):
    scripted.will(says(JOB, 202))
    image, own = tmp_path / "a.jpg", {"idempotency_key": "mine"}
    image.write_bytes(b"x")

    job = client.jobs.create(dataset="ds_1", classes=["cat"], **own)
    job.retry(**own)
    for call in (
        lambda: client.datasets.create("/photos", **own),
        lambda: client.datasets.upload(image, **own),
        lambda: job.export("csv", **own),
        lambda: job.evaluate(image, **own),
    ):
        with suppress(UnexpectedAnswer):  # it is told of a job
            call()

    assert [request.headers["idempotency-key"] for request in scripted.requests] == ["mine"] * 6


@pytest.mark.parametrize("key", ["", "two words", "ä", "x" * 256])
def test_what_can_be_no_key_is_not_sent(scripted, client, key):
    with pytest.raises(ValueError, match="1 to 255 visible ASCII"):
        client.jobs.create(dataset="ds_1", classes=["cat"], idempotency_key=key)

    assert scripted.requests == []


@pytest.mark.parametrize("answer", [HANGS_UP, AWAY])
def test_a_cancel_that_may_have_been_heard_is_not_sent_again(scripted, client, answer):
    scripted.will(says(JOB), answer)
    job = client.jobs.get("job_1")

    with pytest.raises((ServiceUnreachable, Unavailable)):
        job.cancel()

    assert len(scripted.requests) == 2


def test_a_cancel_over_the_rate_limit_was_not_heard_and_is_sent_again(scripted, client):
    scripted.will(says(JOB), says({"code": "rate_limited"}, 429, Retry_After="0"), says(JOB))

    client.jobs.get("job_1").cancel()

    assert len(scripted.requests) == 3


def test_a_quota_is_told_at_once(scripted, client):
    scripted.will(says({"code": "quota_exceeded", "detail": "too many jobs"}, 429))

    with pytest.raises(TooManyRequests, match="too many jobs"):
        client.jobs.create(dataset="ds_1", classes=["cat"])

    assert len(scripted.requests) == 1


def test_a_pause_longer_than_the_patience_is_not_waited_for(scripted, client):
    scripted.will(says({"code": "redis_unavailable"}, 503, Retry_After="3600"))

    with pytest.raises(Unavailable) as caught:
        client.jobs.get("job_1")

    assert caught.value.retry_after == 3600
    assert len(scripted.requests) == 1


def test_nobody_at_the_address_is_told_with_the_address():
    with (
        Client("http://127.0.0.1:1", patience=Patience(seconds=0)) as client,
        pytest.raises(ServiceUnreachable, match=r"http://127\.0\.0\.1:1 does not answer"),
    ):
        client.jobs.get("job_1")


def test_nobody_at_the_address_is_asked_again_for_a_few_seconds_alone():
    now, told = [0.0], []
    tries = Tries(Patience(on_retry=told.append), clock=lambda: now[0], chance=lambda: 1.0)
    refused = ServiceUnreachable("nothing listens", is_refused=True)

    def ask_until_it_is_given_up():
        while True:
            now[0] += tries.pause_after(refused, can_repeat=True)

    with pytest.raises(ServiceUnreachable):
        ask_until_it_is_given_up()

    assert 2 < now[0] <= 5
    assert told == [refused]
    away = ServiceUnreachable("broke off")
    assert tries.pause_after(away, can_repeat=True)  # it listens again: another matter


def test_an_address_where_nothing_listens_is_told_with_the_next_step():
    told = []
    patience = Patience(refused_seconds=0.01, first_pause_seconds=0.001, on_retry=told.append)
    with (
        Client("http://127.0.0.1:1", patience=patience) as client,
        pytest.raises(ServiceUnreachable, match="CCD_URL") as caught,
    ):
        client.jobs.get("job_1")

    assert caught.value.is_refused
    assert len(told) == 1


def test_a_service_that_has_answered_is_waited_for_while_it_starts_again():
    answers = iter([200, None, None, None, 200])

    def answer(request):
        status = next(answers)
        if status is None:
            raise httpx.ConnectError("nothing listens", request=request)
        return httpx.Response(status, json={"data": [], "next_cursor": None})

    patience = Patience(refused_seconds=0, first_pause_seconds=0.001)
    with Client(
        "http://127.0.0.1:1", patience=patience, http=httpx.MockTransport(answer)
    ) as client:
        assert list(client.jobs.list()) == []
        assert list(client.jobs.list()) == []

    assert next(answers, "none left") == "none left"


def test_pauses_double_up_to_the_longest_and_patience_ends():
    now = [0.0]
    patience = Patience(seconds=10, first_pause_seconds=1, longest_pause_seconds=3)
    tries = Tries(patience, clock=lambda: now[0], chance=lambda: 1.0)
    away = ServiceUnreachable("away")

    pauses = []
    for _ in range(4):
        pauses.append(tries.pause_after(away, can_repeat=True))
        now[0] += pauses[-1]

    assert pauses == [1, 2, 3, 3]  # 9 s; another 3 s would be over 10
    with pytest.raises(ServiceUnreachable):
        tries.pause_after(away, can_repeat=True)


def test_chance_shortens_a_pause_to_half_at_most():
    tries = Tries(QUICK, chance=lambda: 0.0)

    assert tries.pause_after(ServiceUnreachable("away"), can_repeat=True) == 0.0005


def test_what_was_never_sent_may_always_be_sent_again():
    tries = Tries(QUICK, chance=lambda: 1.0)

    assert tries.pause_after(ServiceUnreachable("away", was_sent=False), can_repeat=False)
    with pytest.raises(ServiceUnreachable):
        tries.pause_after(ServiceUnreachable("away", was_sent=True), can_repeat=False)
