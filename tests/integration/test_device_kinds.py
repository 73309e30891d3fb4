"""What was begun on one kind of device goes on there; everything else goes to whoever asks."""

import secrets
from collections import Counter

import pytest

from tests.store_calls import CHECK, EPOCHS, SHARDS, submit
from workers.jobs import Lane, Phase, Status

EXPORT = Phase("export", Lane.IO)


def claim(store, device, lane=Lane.METHOD):
    return store.claim(lane, worker=device, nonce=secrets.token_hex(8), device=device)


def begin(store, device, id="job_1", phases=(*CHECK, SHARDS)):
    """A job whose first unit was done on that device."""
    submit(store, id=id, phases=phases)
    first = claim(store, device)
    assert first.record.id == id
    store.complete(first, output="", done=0)


def test_a_job_goes_on_where_it_was_begun(store):
    begin(store, "cuda")

    assert claim(store, "cpu") is None
    assert claim(store, "cuda").phase == "embed"


def test_a_job_that_was_lost_before_its_first_result_is_for_everybody(store):
    submit(store, phases=[*CHECK, SHARDS])
    lost = claim(store, "cuda")
    store.release("cuda")
    store.requeue(lost.unit_id, lost.nonce)

    assert claim(store, "cpu").phase == "check"


def test_the_first_result_decides_and_no_later_one(store):
    begin(store, "cuda")
    for _ in range(SHARDS.units - 1):
        store.complete(claim(store, "cuda"), output="", done=1)
    store.complete(claim(store, ""), output="", done=1)

    assert store.get("job_1").status is Status.SUCCEEDED
    assert store.redis.hget("ccd:record:job_1", "device") == "cuda"


def test_a_worker_that_names_no_device_takes_all(store):
    begin(store, "cuda")

    assert claim(store, "").phase == "embed"


def test_the_other_lane_does_not_ask(store):
    begin(store, "cuda", phases=[*CHECK, EXPORT])

    assert claim(store, "", Lane.IO).phase == "export"


@pytest.mark.parametrize("units", [1, 3, 500])
def test_a_worker_finds_its_job_behind_all_units_of_another_kind(store, units):
    shards = Phase("embed", Lane.METHOD, units=units)
    begin(store, "cuda", id="job_a", phases=[*CHECK, shards])
    begin(store, "cpu", id="job_b", phases=[*CHECK, EPOCHS])
    begin(store, "mps", id="job_c", phases=[*CHECK, shards])

    assert claim(store, "cpu").record.id == "job_b"
    assert claim(store, "cpu") is None
    assert claim(store, "cuda").record.id == "job_a"


def test_units_that_came_back_hide_no_other_job(store):
    begin(store, "cuda", id="job_a")
    for unit in [claim(store, "cuda") for _ in range(2)]:
        store.give_back(unit)
    begin(store, "cpu", id="job_b", phases=[*CHECK, EPOCHS])

    assert claim(store, "cpu").record.id == "job_b"
    assert {claim(store, "cuda").unit for _ in range(3)} == {0, 1, 2}


# ---------------------------------------------------------------------- turns


def embed(units):
    return Phase("embed", Lane.METHOD, units=units, items=10 * units)


def work(store, device, count):
    """Who had the next claims of a worker of that kind."""
    found = []
    for _ in range(count):
        held = claim(store, device)
        found.append(held.record.submitter)
        store.complete(held, output="x", done=10)
    return found


def wait_for_cuda(store):
    """Ann's work waits for a kind that is gone, while Bob's and Cy's is done."""
    submit(store, id="job_ann", phases=[*CHECK, embed(100)], submitter="ann")
    store.complete(claim(store, "cuda"), output="", done=0)
    for who in ("bob", "cy"):
        submit(store, id=f"job_{who}", phases=[embed(100)], submitter=who)
    assert Counter(work(store, "cpu", 100)) == {"bob": 50, "cy": 50}


def test_who_comes_late_has_no_credit_while_somebody_waits_for_another_kind(store):
    wait_for_cuda(store)
    submit(store, id="job_di", phases=[embed(100)], submitter="di")

    assert Counter(work(store, "cpu", 90)) == {"bob": 30, "cy": 30, "di": 30}


def test_who_waited_for_another_kind_has_a_share_of_it_and_no_more(store):
    wait_for_cuda(store)
    for who in ("bob", "cy"):
        submit(store, id=f"job_{who}_2", phases=[embed(100)], submitter=who)

    had = Counter(work(store, "cuda", 90))
    assert had.keys() == {"ann", "bob", "cy"}
    assert max(had.values()) - min(had.values()) <= 2  # a unit of each
