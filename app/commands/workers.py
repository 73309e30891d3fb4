"""`ccd workers`: who does the work."""

from app.command_line import JsonOption
from app.commands.connection import KeyOption, UrlOption, connected
from app.commands.printing import print_json, print_table


def workers(*, url: UrlOption = None, key: KeyOption = None, as_json: JsonOption = False) -> None:
    """List the workers that are there, and what each has in hand."""
    with connected(url, key) as client:
        found = client.workers().all()
        if as_json:
            print_json(found)
            return
        print_table(
            {
                "worker": one.name,
                "lane": one.lane,
                "device": one.device,
                "work": "{record_id} {phase} {unit}".format_map(one.unit) if one.unit else None,
                "images/s": one.images_per_second,
                "draining": one.draining,
                "heard": one.heartbeat_at,
            }
            for one in found
        )
