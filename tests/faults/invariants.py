"""What holds after every step of a schedule, whatever it was."""

from tests.faults.ground import Ground, Seen, content_of, output_of
from workers.files import DataFolder
from workers.jobs import MOVES, Status
from workers.recovery import recover
from workers.store import RecordNotFound


def can_reach(before: Status, after: Status) -> bool:
    return before is after or any(can_reach(step, after) for step in MOVES.get(before, ()))


class Invariants(Ground):
    """Each record moves as it may, and whatever can be seen is whole."""

    def _check(self) -> None:
        breaks, self.store.breaks = self.store.breaks, None
        for id, seen in self.seen.items():
            self._check_record(id, seen)
        live = [self.units[nonce] for nonce in self.store.live_nonces() if nonce in self.units]
        assert len(live) == len(set(live)), "two nonces of one unit are in force"
        self._check_folders()
        self.store.breaks = breaks

    def _check_record(self, id: str, seen: Seen) -> None:
        try:
            record = self.store.get(id)
        except RecordNotFound:
            assert not seen.is_accepted, f"{id} was accepted and is gone"
            assert not seen.is_there, f"{id} was there and is gone"
            return
        outputs = self.store.outputs(id)
        assert can_reach(seen.status, record.status), f"{id}: {seen.status} to {record.status}"
        if seen.status.is_final:  # nothing is published of one that was cancelled
            assert (record.version, outputs) == (seen.version, seen.outputs), f"{id} had ended"
        if record.status is Status.SUCCEEDED:
            units = {(p.name, k) for p in record.phases for k in range(p.units)}
            assert outputs == {unit: output_of(*unit) for unit in units}
            assert set(outputs.values()) <= self._published(), f"{id} has results that are not"
        seen.is_there, seen.status = True, record.status
        seen.version, seen.outputs = record.version, outputs
        self.sights.append((id, record.status, record.version))

    def _check_folders(self) -> None:
        """Whatever can be seen is whole, and as it has to be."""
        for name in self._published() - self.whole:
            path = self.folder.phase(name)
            assert DataFolder(self.folder.root).is_complete(path), f"{name} is not whole"
            assert (path / "a").read_bytes() == content_of(name)
            self.whole.add(name)

    def _has_ended(self) -> bool:
        return all(seen.status.is_final for seen in self.seen.values() if seen.is_there)

    def _check_recovery(self) -> None:
        """An emptied Redis is filled again with the same ends."""
        before = {id: seen.status for id, seen in self.seen.items() if seen.is_there}
        self.store.redis.flushall()
        self.store.set_clock(self.now)
        recover(self.store, self.folder, apply=True)
        after = {id: self.store.get(id).status for id in before}
        assert before == after, f"{before} came back as {after}"
