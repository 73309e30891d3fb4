"""What `ccd recover` says of what it found."""

from collections.abc import Callable

from workers.recovery import Recovery

#: Records and folders that are told one by one; of more only the number.
MAX_TOLD = 20


def report(found: Recovery, say: Callable[[str], None], *, applied: bool) -> None:
    """One line for each kind and status, then what cannot be had back and why."""
    for (kind, status), count in sorted(found.restored.items()):
        say(f"{'restored' if applied else 'to restore':<11} {kind:<11} {status:<10} {count}")
    for kind, count in sorted(found.there.items()):
        say(f"{'left alone':<11} {kind:<11} {'in Redis':<10} {count}")
    gaps = [
        f"of {id} {len(names)} folders with results are gone, such as {names[0]}"
        for id, names in found.gaps.items()
    ]
    lost = [f"no record of {own}: {reason}" for own, reason in found.lost.items()]
    for lines in (gaps, lost):
        for line in lines[:MAX_TOLD]:
            say(line)
        if len(lines) > MAX_TOLD:
            say(f"and {len(lines) - MAX_TOLD} more")
    if not applied and found.restored:
        say("nothing was changed; do it with: ccd recover --apply")
    elif not found.restored:
        say("nothing to restore")
