"""A neighbour: a service that shares nothing with PlanStore but Redis, and reacts to what happens.

    PLANSTORE_REDIS_URL=redis://localhost:6379 planstore serve
    PLANSTORE_REDIS_URL=redis://localhost:6379 python examples/redis_neighbour/neighbour.py

Have some plan carried out, such as that of `../replanning`: the neighbour prints what its tasks
have put out and, once the plan has ended, how many of them were completed, until Ctrl-C. It hears
what is published while it listens. Who must miss nothing reads the stream: see docs/redis.md.
"""

# redis-py leaves the types of much of what it answers open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from contextlib import suppress
from typing import Any, Final

from redis.asyncio import Redis

REDIS: Final = os.environ.get("PLANSTORE_REDIS_URL", "redis://localhost:6379")
CHANNEL: Final = "l01:events"


class Tally:
    """How many tasks of each plan were completed."""

    def __init__(self) -> None:
        self._completed: Counter[str] = Counter()
        self._last_seq = 0

    def take(self, event: dict[str, Any]) -> None:
        seq, plan_id = event["metadata"]["seq"], event["metadata"]["plan_id"]
        if seq <= self._last_seq:  # events come in order, but some may come again
            return
        self._last_seq = seq
        match event["event_type"]:
            case "task.completed":
                self._completed[plan_id] += 1
                output = (event["payload"] or {}).get("output_data")
                print(f"a task is completed, with the output {output}")
            case "plan.completed" | "plan.failed" | "plan.cancelled" as ended:
                print(f"{ended}: {self._completed.pop(plan_id, 0)} tasks were completed")
            case _:
                pass


async def main() -> None:
    tally = Tally()
    async with Redis.from_url(REDIS, decode_responses=True) as redis, redis.pubsub() as channels:
        await channels.subscribe(CHANNEL)
        async for message in channels.listen():
            if message["type"] == "subscribe":
                print(f"listening to {CHANNEL}")
            else:
                tally.take(json.loads(message["data"]))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
