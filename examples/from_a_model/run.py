"""A language model was asked "Which page of docs/ should I read first?"; its answer is carried out.

    python examples/from_a_model/run.py

The answer in `answer.md` is kept as it came, with friendly words around the JSON. A model that is
handed the JSON Schema of `GET /schemas/plan` answers like this. The program takes it in as a plan,
carries out each task by the function for its type, and prints how that went and what came of it.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from planstore.client import AsyncPlanStoreClient
from planstore.worker import Orchestrator, over_http

if TYPE_CHECKING:
    from planstore.models import WorkPacket

SERVER: Final = os.environ.get("PLANSTORE_URL", "http://localhost:8011")
KEY: Final = os.environ.get("PLANSTORE_API_KEY") or None
ANSWER: Final = Path(__file__).with_name("answer.md")
DOCS: Final = Path(__file__).parents[2] / "docs"

orchestrator = Orchestrator(over_http(SERVER, api_key=KEY))


@orchestrator.task("count_words")
def count_words(packet: WorkPacket) -> dict[str, int]:
    # A model may ask for any file: only the last part of its path counts.
    page = DOCS / Path((packet.input_data or {})["page"]).name
    return {"words": len(page.read_text("utf-8").split())}


@orchestrator.task("pick_shortest")
def pick_shortest(packet: WorkPacket) -> dict[str, str]:
    words = (packet.resolved_input or {})["words"]
    return {"page": min(words, key=words.__getitem__)}


async def main() -> None:
    async with AsyncPlanStoreClient.open(SERVER, api_key=KEY) as store:
        taken = await store.import_plan(ANSWER.read_bytes(), "llm")
    assert taken.plan is not None
    print(f"taken in: {taken.tasks} tasks, {taken.dependencies} dependencies")
    done = await orchestrator.execute_plan(taken.plan.id)
    print(f"{done['status']}: {done['completed_tasks']} tasks")
    for name, output in sorted(done["outputs"].items()):
        print(f"{name}: {output}")


if __name__ == "__main__":
    asyncio.run(main())
