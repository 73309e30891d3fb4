"""The job store under any sequence of calls, checked against a model after every one of them."""

import itertools
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from workers.events import read_entries, read_lines
from workers.jobs import MOVES, Claim, JobError, Kind, Lane, Phase, Record, Status
from workers.records import read_record
from workers.settings import Settings
from workers.store import DatasetInUse, IllegalMove, Renewal, StaleClaim, Store, connect

ATTEMPTS = 2
LONGER_THAN_THE_TEST = 3600
#: Few records at a time, so that calls meet on one of them.
MOST_UNFINISHED = 3
BROKEN = JobError("broken", "p", "It broke.")
PHASES = st.builds(
    Phase,
    st.just("p"),
    st.sampled_from(Lane),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from([0, 1, 5]),
    st.sampled_from([None, 30]),
)
SUBMITTERS = st.sampled_from(["ann", "bob"])
#: One or two phases with names of their own.
ROWS = st.lists(PHASES, min_size=1, max_size=2).map(
    lambda row: [replace(phase, name=f"p{n}") for n, phase in enumerate(row)]
)


@dataclass
class Seen:
    """What the model knows of a record."""

    kind: Kind
    waits_for: str | None
    is_passing: bool = False
    status: Status = Status.QUEUED
    percent: float = 0
    version: int = 0
    outputs: dict = field(default_factory=dict)
    claims: dict[str, Claim] = field(default_factory=dict)  # by nonce, those in force
    lost: dict[str, int] = field(default_factory=dict)  # by unit, how often

    @property
    def held_units(self) -> list[str]:
        return [claim.unit_id for claim in self.claims.values()]


def can_reach(before: Status, after: Status) -> bool:
    return before is after or any(can_reach(step, after) for step in MOVES.get(before, ()))


class StoreMachine(RuleBasedStateMachine):
    """One law: a call does what it says, or it is refused by name and changes nothing."""

    records = Bundle("records")
    claims = Bundle("claims")  # in force, except where their record has ended
    stale = Bundle("stale")  # those that have ended by a call of their own

    def __init__(self, client):
        super().__init__()
        client.flushall()
        self.redis = client
        # Due at once: a delayed unit waits until the next claim in its lane, not for a clock.
        self.store = Store(client, max_attempts=ATTEMPTS, backoff_seconds=(0,))
        self.seen: dict[str, Seen] = {}
        self.ended_attempts: Counter[str] = Counter()
        self.ended_records: Counter[str] = Counter()
        self.nonces = (f"n{n:06d}" for n in itertools.count())

    # ------------------------------------------------------------------ calls

    @precondition(lambda self: len(self.unfinished) < MOST_UNFINISHED)
    @rule(target=records, phases=ROWS, priority=st.integers(-2, 2), submitter=SUBMITTERS)
    def submit_dataset(self, phases, priority, submitter):
        return self.submit(Kind.DATASET, phases, priority, None, submitter=submitter)

    @precondition(lambda self: len(self.unfinished) < MOST_UNFINISHED)
    @rule(target=records, phases=ROWS)
    def submit_passing_work(self, phases):
        return self.submit(Kind.CAM, phases, 0, None, is_passing=True)

    @precondition(lambda self: len(self.unfinished) < MOST_UNFINISHED)
    @rule(
        target=records,
        phases=ROWS,
        needed=records,
        priority=st.integers(-2, 2),
        submitter=SUBMITTERS,
    )
    def submit_job(self, phases, needed, priority, submitter):
        if needed not in self.seen:
            return multiple()
        return self.submit(Kind.JOB, phases, priority, needed, submitter=submitter)

    def submit(self, kind, phases, priority, waits_for, *, is_passing=False, submitter="ann"):
        # Sorts by age, as records of one millisecond do: the same calls, the same claims.
        id = f"{next(self.nonces)}_{kind}"
        self.seen[id] = Seen(kind, waits_for, is_passing)
        self.store.create(
            kind,
            id,
            request={},
            phases=phases,
            priority=priority,
            submitter=submitter,
            passes=2,
            waits_for=waits_for,
            keep_seconds=LONGER_THAN_THE_TEST if is_passing else None,
        )
        return id

    @initialize(target=claims, records=st.lists(ROWS, min_size=2, max_size=2))
    def begin_with_work_in_hand(self, records):
        for phases in records:
            self.submit(Kind.JOB, phases, 0, None)
        return multiple(self.claim(Lane), self.claim(list(Lane)[::-1]))

    @rule(lane=st.sampled_from(Lane))
    def claim_where_nothing_waits(self, lane):
        if not self.store.waiting(lane):
            assert self.store.claim(lane, worker="w", nonce="unused") is None

    @precondition(lambda self: any(self.store.waiting(lane) for lane in Lane))
    @rule(target=claims, lanes=st.permutations(Lane))
    def claim_what_waits(self, lanes):
        return self.claim(lanes)

    def claim(self, lanes):
        lane, nonce = next(filter(self.store.waiting, lanes)), next(self.nonces)
        found = self.store.claim(lane, worker=nonce, nonce=nonce)
        record = self.seen[found.record.id]
        assert found.unit_id not in record.held_units
        assert found.attempt == 1 + record.lost.get(found.unit_id, 0)
        assert (found.phase, found.unit) not in record.outputs
        record.claims[nonce] = found
        return found

    @rule(claim=claims)
    def claim_again_with_the_same_nonce(self, claim):
        if self.is_in_force(claim):
            again = self.store.claim(claim.lane, worker=claim.worker, nonce=claim.nonce)
            assert (again.unit_id, again.attempt) == (claim.unit_id, claim.attempt)

    @rule(claim=claims, done=st.integers(0, 40), total=st.sampled_from([0, 40]))
    def renew(self, claim, done, total):
        expected = Renewal.FENCED
        if self.is_in_force(claim):
            is_cancelling = self.seen[claim.record.id].status is Status.CANCELLING
            expected = Renewal.CANCEL if is_cancelling else Renewal.OK
        assert self.store.renew(claim, done=done, total=total) is expected

    @rule(
        target=stale,
        claim=consumes(claims),
        done=st.integers(0, 40),
        plan=st.one_of(st.none(), PHASES),
    )
    def complete(self, claim, done, plan):
        phases = [replace(plan, name=f"more_{next(self.nonces)}")] if plan else None
        rings = self.write(
            claim,
            lambda: self.store.complete(claim, output=claim.nonce, done=done, plan=phases),
        )
        if rings is not None:
            self.ended_attempts["done"] += 1
            self.seen[claim.record.id].outputs[claim.phase, claim.unit] = claim.nonce
            assert all(count <= self.store.waiting(lane) for lane, count in rings.items())
        return claim

    @rule(target=stale, claim=consumes(claims))
    def fail(self, claim):
        status = self.write(claim, lambda: self.store.fail(claim, BROKEN))
        assert status in {None, Status.FAILED, Status.CANCELLING, Status.CANCELLED}
        self.ended_attempts["failed"] += status is not None
        return claim

    @rule(target=stale, claim=consumes(claims))
    def give_back(self, claim):
        self.take_back(claim, self.store.give_back)
        return claim

    @rule(target=stale, claim=consumes(claims))
    def stopped(self, claim):
        self.take_back(claim, self.store.stopped)
        return claim

    def take_back(self, claim, call):
        record = self.seen.get(claim.record.id)
        is_cancelling = record is not None and record.status is Status.CANCELLING
        if self.write(claim, lambda: call(claim)) is not None:
            self.ended_attempts["stopped" if is_cancelling else "given_back"] += 1

    @rule(target=stale, claim=consumes(claims))
    def lose(self, claim):
        is_in_force = self.is_in_force(claim)
        assert self.store.requeue(claim.unit_id, claim.nonce) is None  # its lease runs
        assert self.store.release(claim.worker) == is_in_force
        status = self.store.requeue(claim.unit_id, claim.nonce)
        assert (status is not None) == is_in_force
        if is_in_force:
            record = self.seen[claim.record.id]
            del record.claims[claim.nonce]
            self.ended_attempts["lost"] += 1
            record.lost[claim.unit_id] = record.lost.get(claim.unit_id, 0) + 1
        return claim

    @rule(claim=stale)
    def write_with_a_stale_claim(self, claim):
        assert self.store.renew(claim, done=1) is Renewal.FENCED
        assert self.store.requeue(claim.unit_id, claim.nonce) is None
        for call in (
            lambda: self.store.complete(claim, output="stale", done=1),
            lambda: self.store.fail(claim, BROKEN),
            lambda: self.store.give_back(claim),
            lambda: self.store.stopped(claim),
        ):
            with pytest.raises(StaleClaim):
                call()

    @rule(claim=claims)
    def write_with_a_nonce_of_nobody(self, claim):
        self.write_with_a_stale_claim(replace(claim, nonce="forged"))

    @precondition(lambda self: self.running)
    @rule(pick=st.randoms(use_true_random=False))
    def cancel_what_runs(self, pick):
        self.cancel(pick.choice(self.running))

    @rule(id=records)
    def cancel_what_waits(self, id):
        if id in self.seen and self.seen[id].status is Status.QUEUED:
            self.cancel(id)

    def cancel(self, id):
        status = self.store.cancel(id)
        assert status is (Status.CANCELLING if self.seen[id].claims else Status.CANCELLED)

    @rule(id=records)
    def cancel_what_has_ended(self, id):
        if id in self.seen and self.seen[id].status.is_final:
            with pytest.raises(IllegalMove):
                self.store.cancel(id)

    @rule(id=consumes(records))
    def delete(self, id):
        if id not in self.seen:
            return
        users = [user for user, other in self.seen.items() if self.needs(other, id)]
        if users:
            with pytest.raises(DatasetInUse) as refused:
                self.store.delete(id)
            assert sorted(refused.value.users) == sorted(users)
        elif not self.seen[id].status.is_final:
            with pytest.raises(IllegalMove):
                self.store.delete(id)
        else:
            self.store.delete(id)
            del self.seen[id]

    # ------------------------------------------------------------------ the model

    @property
    def unfinished(self):
        return [id for id, seen in self.seen.items() if not seen.status.is_final]

    @property
    def running(self):
        return [id for id, seen in self.seen.items() if seen.status is Status.RUNNING]

    def is_in_force(self, claim):
        record = self.seen.get(claim.record.id)
        return record is not None and claim.nonce in record.claims

    @staticmethod
    def needs(record, id):
        return record.waits_for == id and not record.status.is_final

    def write(self, claim, call):
        """A write that ends a claim; None where it was refused."""
        if not self.is_in_force(claim):
            with pytest.raises(StaleClaim):
                call()
            return None
        answer = call()
        del self.seen[claim.record.id].claims[claim.nonce]
        return answer

    # ------------------------------------------------------------------ after every call

    @invariant()
    def what_redis_holds_is_sound(self):
        self.keys = self.read_all_keys()
        self.now = {id: read_record(self.keys[f"ccd:record:{id}"]) for id in self.seen}
        self.units = {
            key.removeprefix("ccd:unit:"): fields
            for key, fields in self.keys.items()
            if key.startswith("ccd:unit:")
        }
        for id, seen in self.seen.items():
            self.check_that_it_went_only_forwards(seen, self.now[id])
        for id, seen in self.seen.items():
            self.check_outputs(id, seen)
            self.check_units(id, seen)
            self.check_what_it_waits_for(id, seen)
        self.check_states_of_units()
        self.check_turns()
        self.check_work_ahead()
        self.check_nonces()
        self.check_positions()
        self.check_sums()
        self.check_lists()
        self.check_what_was_told()

    def check_that_it_went_only_forwards(self, seen: Seen, record: Record):
        assert can_reach(seen.status, record.status)
        assert record.progress.percent >= seen.percent
        assert record.version >= seen.version
        assert record.version == seen.version or not seen.status.is_final
        assert (record.progress.percent == 100) == (record.status is Status.SUCCEEDED)
        assert (record.error is not None) == (record.status is Status.FAILED)
        assert (record.finished_at is not None) == record.status.is_final
        if record.status.is_final and not seen.status.is_final:
            self.ended_records[f"{seen.kind}|{record.status}"] += 1
        seen.status, seen.version = record.status, record.version
        seen.percent = record.progress.percent
        if record.status.is_final:
            seen.claims.clear()  # whoever still works on it is fenced off

    def check_outputs(self, id, seen):
        """None is lost, none is overwritten; a success has one of every unit."""
        kept = self.keys.get(f"ccd:outputs:{id}", {})
        assert kept == {f"{phase}/{k:06d}": nonce for (phase, k), nonce in seen.outputs.items()}
        if seen.status is Status.SUCCEEDED:
            phases = self.now[id].phases
            assert set(seen.outputs) == {(p.name, k) for p in phases for k in range(p.units)}

    def check_units(self, id, seen):
        """An unfinished record has some, unless it waits for another record; a final one none."""
        mine = {unit for unit in self.units if unit.startswith(f"{id}/")}
        assert self.keys.get(f"ccd:running:{id}", set()) == set(seen.held_units)
        assert self.keys.get(f"ccd:open:{id}", set()) == mine - set(seen.held_units)
        if seen.status is Status.CANCELLING:
            assert mine == set(seen.held_units)  # it opens nothing more
        needed = self.seen.get(seen.waits_for or "")
        is_waiting = needed is not None and not needed.status.is_final
        assert bool(mine) == (not seen.status.is_final and not is_waiting)

    def check_what_it_waits_for(self, id, seen):
        needed = self.seen.get(seen.waits_for or "")
        if needed and needed.status in {Status.FAILED, Status.CANCELLED}:
            assert seen.status in {Status.FAILED, Status.CANCELLED}
        users = {user for user, other in self.seen.items() if self.needs(other, id)}
        assert self.keys.get(f"ccd:users:{id}", set()) == users

    def check_states_of_units(self):
        """Each is queued or delayed or running, as its own hash says, and nothing else."""
        queued = [unit for lane in Lane for unit in self.queued_in(lane)]
        delayed = [unit for lane in Lane for unit in self.keys.get(f"ccd:delayed:{lane}", [])]
        running = self.keys.get("ccd:leases", [])
        states = dict.fromkeys(queued, "queued") | dict.fromkeys(delayed, "delayed")
        states |= dict.fromkeys(running, "running")

        for lane in Lane:
            waits = self.keys.get(f"ccd:waiting:{lane}", [])
            assert sorted(waits) == sorted(self.queued_in(lane))
        assert len(states) == len(queued) + len(delayed) + len(running)
        assert {unit: fields["state"] for unit, fields in self.units.items()} == states
        assert all(int(fields["attempts"]) < ATTEMPTS for fields in self.units.values())

    def queued_in(self, lane):
        """Those that wait for their submitter's turn, and those that had theirs."""
        prefix = f"ccd:queue:{lane}:"
        units = [unit for key in self.keys if key.startswith(prefix) for unit in self.keys[key]]
        return units + self.keys.get(f"ccd:returned:{lane}", [])

    def check_turns(self):
        """Who has queued units has a turn, not before the time; who has none, only ahead of it."""
        for lane in Lane:
            prefix = f"ccd:queue:{lane}:"
            queues = {key.removeprefix(prefix) for key in self.keys if key.startswith(prefix)}
            time = float(self.redis.get(f"ccd:virtual:{lane}") or 0)
            turns = dict(self.redis.zrange(f"ccd:turns:{lane}", 0, -1, withscores=True))
            rested = dict(self.redis.zrange(f"ccd:rested:{lane}", 0, -1, withscores=True))
            held = {unit for unit in self.keys.get("ccd:leases", []) if self.lane_of(unit) is lane}
            assert set(turns) == queues
            assert not turns.keys() & rested.keys()
            assert all(tag >= time for tag in turns.values())
            assert all(tag > time for tag in rested.values())
            assert self.keys.get(f"ccd:held:{lane}", set()) == held
            if not any(self.lane_of(unit) is lane for unit in self.units):
                assert (time, rested) == (0, {})

    def lane_of(self, unit):
        return Lane(self.units[unit]["lane"])

    def check_work_ahead(self):
        """What is told of a submitter's work is the sum over its records."""
        for lane in Lane:
            asked, left = Counter(), Counter()
            for id, record in self.now.items():
                fields = self.keys[f"ccd:record:{id}"]
                if record.phases[0].lane is lane:
                    left[record.submitter] += int(fields.get("left", 0))
                    if record.status is Status.QUEUED:
                        asked[record.submitter] += int(fields.get("left", 0))
            for name, sums in (("asked", asked), ("left", left)):
                found = self.keys.get(f"ccd:{name}:{lane}", {})
                assert found == {who: str(sum) for who, sum in sums.items() if sum}

    def check_nonces(self):
        """One for each running unit, and none else."""
        claims = [claim for seen in self.seen.values() for claim in seen.claims.values()]
        assert self.keys.get("ccd:nonces", {}) == {held.nonce: held.unit_id for held in claims}
        assert sorted(self.keys.get("ccd:leases", [])) == sorted(held.unit_id for held in claims)

    def check_positions(self):
        """Those that could be started stand in line, one behind the other."""
        for lane in Lane:
            queued = [
                id
                for id, record in self.now.items()
                if record.status is Status.QUEUED and record.phases[0].lane is lane
            ]
            ready = {id for id in queued if any(unit.startswith(f"{id}/") for unit in self.units)}
            queue = self.store.queue(lane, queued)
            assert queue.ranks.keys() == ready
            assert sorted(map(queue.position, ready)) == list(range(1, len(ready) + 1))

    def check_lists(self):
        """Every record is listed, but passing ones that have ended: those have a time to go."""
        over = {id for id, seen in self.seen.items() if seen.is_passing and seen.status.is_final}
        for kind in Kind:
            listed = {id for id, seen in self.seen.items() if seen.kind is kind} - over
            members = self.keys.get(f"ccd:records:{kind}", [])
            assert {member.partition(":")[2] for member in members} == listed
            assert self.store.count(kind) == len(members) == len(listed)
        for id in self.seen:
            for key in (f"ccd:record:{id}", f"ccd:outputs:{id}"):
                if key in self.keys:
                    assert (self.redis.ttl(key) > 0) == (id in over)

    def check_what_was_told(self):
        """Events of jobs alone, one after the other, and the last of each kind is how it is."""
        for id, seen in self.seen.items():
            told = read_entries(self.keys.get(f"ccd:events:{id}", []))
            lines = read_lines(self.redis.xrange(f"ccd:lines:{id}"))
            fields = self.keys[f"ccd:record:{id}"]
            assert [event.seq for event in told] == list(range(1, int(fields.get("seq", 0)) + 1))
            assert [line.number for line in lines] == list(range(1, len(lines) + 1))
            assert bool(told) == (seen.kind is Kind.JOB and seen.status is not Status.QUEUED)
            if told:
                self.check_last_events(self.now[id], {event.type: event.data for event in told})
                ends = [event.seq for event in told if event.type == "job.done"]
                assert ends == [told[-1].seq] * seen.status.is_final
            is_kept = self.redis.ttl(f"ccd:events:{id}") == -1
            assert is_kept == (bool(told) and not seen.status.is_final)
            if lines and seen.status.is_final:
                assert lines[-1].event == f"job.{seen.status}"

    def check_last_events(self, record, last):
        assert last["job.state"]["status"] == record.status
        if record.phase is not None:
            assert last["job.phase"]["phase"] == record.phase
            assert last["job.phase"]["phase_count"] <= record.progress.phase_count

    def check_sums(self):
        """Every attempt and every record is counted once, by how it ended."""
        attempts, ends = Counter(), Counter()
        for name, value in self.keys.get("ccd:stats", {}).items():
            kind, _, labels = name.partition("|")
            if kind == "attempts":
                attempts[labels.rpartition("|")[2]] += int(value)
            elif kind == "ended":
                ends[labels] = int(value)
        assert attempts == self.ended_attempts
        assert ends == self.ended_records

    def read_all_keys(self):
        """{key: members or fields} of everything there is."""
        read = {
            "hash": self.redis.hgetall,
            "set": self.redis.smembers,
            "zset": lambda key: self.redis.zrange(key, 0, -1),
            "stream": self.redis.xrange,
        }
        return {
            key: read[self.redis.type(key)](key)
            for key in self.redis.keys("ccd:*")
            if not key.startswith(("ccd:bell:", "ccd:virtual:"))
        }

    def teardown(self):
        """Whatever happened, workers that go on bring every record to an end."""
        self.store.release_all()
        for unit, nonce in self.store.expired():
            self.store.requeue(unit, nonce)
        while any(self.finish_one_unit(lane) for lane in Lane):
            pass
        assert all(self.store.get(id).status.is_final for id in self.seen)
        for name in ("unit", "queue", "turns", "rested", "virtual", "held", "pending", "left"):
            assert self.redis.keys(f"ccd:{name}:*") == []

    def finish_one_unit(self, lane):
        claim = self.store.claim(lane, worker="last", nonce=next(self.nonces))
        if claim:
            self.store.complete(claim, output="last", done=1)
        return claim is not None


def test_no_sequence_of_calls_breaks_the_store(redis_url):
    # A database of its own: the service of other tests may still look after the first.
    with connect(Settings(redis_url=f"{redis_url}?db=1")) as client:
        run_state_machine_as_test(
            lambda: StoreMachine(client),
            settings=settings(
                max_examples=80,
                stateful_step_count=50,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
