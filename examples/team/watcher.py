"""Somebody who watches a team: follows the events of one plan until it has ended.

    python examples/team/watcher.py PLAN_ID

It prints a line for each task that was begun or has ended, and how the plan has ended. It begins
with the plan's first event, so it may be started at any time, and misses nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Final
from uuid import UUID

from planstore.client import AsyncPlanStoreClient
from planstore.models.plan import FINAL

SERVER: Final = os.environ.get("PLANSTORE_URL", "http://localhost:8011")
KEY: Final = os.environ.get("PLANSTORE_API_KEY") or None


async def watch(plan_id: UUID) -> None:
    names: dict[UUID, str] = {}
    async with (
        AsyncPlanStoreClient.open(SERVER, api_key=KEY) as store,
        store.stream_events(plan_id=plan_id, after=0) as stream,
    ):
        async for event in stream:
            changed = json.loads(event.payload or "{}")
            match event.event_type:
                case "task.created":
                    names[event.aggregate_id] = changed["name"]
                case "task.started":
                    print(f"{names[event.aggregate_id]} is begun by {changed['worker_id']}")
                case "task.completed" | "task.failed":
                    print(f"{names[event.aggregate_id]} is {changed['status']}")
                case _ if event.aggregate_type == "plan" and changed.get("status") in FINAL:
                    print(f"the plan is {changed['status']}")
                    return
                case _:
                    pass


if __name__ == "__main__":
    asyncio.run(watch(UUID(sys.argv[1])))
