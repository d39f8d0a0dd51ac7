"""A plan is changed half way, by what its first task finds out.

    python examples/replanning/run.py

A book is to be translated into Backwards. That it has three chapters is known only once somebody
has looked inside: then "translate" is split into a task for each, which go on side by side, and
"bind" is inserted before "print". The program prints what is done, and the plan's last revision.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from planstore.client import AsyncPlanStoreClient
from planstore.models import DependencyDraft, PlanCreate, TaskDraft
from planstore.models.revision import InsertTask, RevisionDraft, SplitTask
from planstore.worker import Orchestrator, over_http

if TYPE_CHECKING:
    from planstore.models import WorkPacket

SERVER: Final = os.environ.get("PLANSTORE_URL", "http://localhost:8011")
KEY: Final = os.environ.get("PLANSTORE_API_KEY") or None

BOOK: Final = ("A whale went out", "It met a storm", "It came home")
"""What is inside; only the survey looks."""

TASKS: Final = [
    TaskDraft(name="survey", description="Look inside the book", task_type="survey"),
    TaskDraft(
        name="translate",
        description="Translate it",
        task_type="translate",
        depends_on=[DependencyDraft(task="survey")],
    ),
    TaskDraft(
        name="print",
        description="Print it",
        task_type="print",
        depends_on=[DependencyDraft(task="translate")],
    ),
]

orchestrator = Orchestrator(over_http(SERVER, api_key=KEY))


@orchestrator.task("survey")
async def survey(packet: WorkPacket) -> dict[str, int]:
    chapters = {f"chapter {number}": text for number, text in enumerate(BOOK, start=1)}
    parts = [
        TaskDraft(
            name=name,
            description=f"Translate {name}",
            task_type="translate",
            input_data={"text": text},
        )
        for name, text in chapters.items()
    ]
    bind = TaskDraft(
        name="bind",
        description="Put the chapters together",
        task_type="bind",
        input_data={"chapters": ["{{" + name + ".text}}" for name in chapters]},
    )
    change = RevisionDraft(
        # Refused if somebody else has changed the plan since this task was handed out.
        expected_revision=packet.plan_revision,
        operations=[
            SplitTask(task="translate", into=parts),
            InsertTask(task=bind, before="print"),
        ],
        reason=f"the book has {len(BOOK)} chapters",
        by="survey",
    )
    async with AsyncPlanStoreClient.open(SERVER, api_key=KEY) as store:
        await store.revise_plan(packet.plan_id, change)
    print(f"survey: {change.reason}")
    return {"chapters": len(BOOK)}


@orchestrator.task("translate")
async def translate(packet: WorkPacket) -> dict[str, str]:
    text = (packet.input_data or {})["text"]
    print(f"{packet.name}: {text!r}")
    return {"text": text[::-1]}


@orchestrator.task("bind")
async def put_together(packet: WorkPacket) -> dict[str, str]:
    chapters = (packet.resolved_input or {})["chapters"]
    print(f"bind: {len(chapters)} chapters")
    return {"text": " / ".join(chapters)}


@orchestrator.task("print")
async def print_book(packet: WorkPacket) -> None:
    # Whatever it has come to need: when the plan was made that was "translate".
    for needed in packet.dependencies:
        print(f"print: {(needed.output_data or {})['text']}")


async def main() -> None:
    async with AsyncPlanStoreClient.open(SERVER, api_key=KEY) as store:
        plan = await store.create_plan(PlanCreate(plan_type="dag", tasks=TASKS))
        done = await orchestrator.execute_plan(plan.id)
        print(f"{done['status']}: {done['completed_tasks']} tasks")
        last, *_ = await store.list_revisions(plan.id)
        print(f"revision {last.revision}, by {last.by}: {last.reason}")


if __name__ == "__main__":
    asyncio.run(main())
