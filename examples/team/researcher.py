"""A worker of a team: looks facts up, for any plan that asks for some, until Ctrl-C.

    python examples/team/researcher.py

It prints what it looks up. Start as many of them as you like: no task is ever handed to two.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from planstore.worker import Permanent, Worker, over_http

if TYPE_CHECKING:
    from planstore.models import WorkPacket

SERVER: Final = os.environ.get("PLANSTORE_URL", "http://localhost:8011")
KEY: Final = os.environ.get("PLANSTORE_API_KEY") or None

LIBRARY: Final = {
    "whales": "Sperm whales sleep upright, like trees in the sea.",
    "owls": "Owls can't move their eyes, so they turn their heads.",
    "bees": "Bees dance to say where the flowers are.",
}

worker = Worker()


@worker.task("research")
async def research(packet: WorkPacket) -> dict[str, str]:
    subject = (packet.input_data or {})["subject"]
    print(f"looking up {subject}")
    if subject not in LIBRARY:
        raise Permanent(f"there is no book about {subject}")
    return {"fact": LIBRARY[subject]}


if __name__ == "__main__":
    worker.run(over_http(SERVER, api_key=KEY))
