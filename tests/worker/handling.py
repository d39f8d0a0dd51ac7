"""A worker for processes of their own: its handlers tell by files where they are, and wait for one.

The lease is that of the environment variable LEASE, in seconds.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from planstore.worker import Worker

if TYPE_CHECKING:
    from planstore.models.claim import WorkPacket

worker = Worker(lease_seconds=float(os.environ["LEASE"]))


@worker.task("wait")
def wait(packet: WorkPacket) -> dict[str, int]:
    """Tell which run it is, and wait for the file that ends it."""
    place = Path(str((packet.input_data or {})["place"]))
    (place / f"begun-{packet.attempt}").touch()
    while not (place / "end").exists():
        time.sleep(0.02)
    return {"pid": os.getpid()}


@worker.task("quick")
async def be_quick(packet: WorkPacket) -> dict[str, int]:
    """Tell who did it."""
    return {"pid": os.getpid(), "attempt": packet.attempt}
