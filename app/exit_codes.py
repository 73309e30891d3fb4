"""How the commands that talk to a service end."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes."""

    DONE = 0
    FAILED = 1
    REFUSED = 2
    NO_SERVICE = 3
    CANCELLED = 4
    BROKE_OFF = 5
    INTERRUPTED = 130


#: Stands in the help of every command.
MEANINGS = (
    "Exit codes: 0 done, 1 the job or other work failed, 2 wrong command line or refused request, "
    "3 no service, 4 the job was cancelled, 5 broken off by a fault of the service, a file of this "
    "machine or the end of the waiting time, 130 interrupted (a job that was sent goes on)."
)
