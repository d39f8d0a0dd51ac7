"""An agent that has nothing but the ten tools of `planstore mcp`, over standard input and output.

    python examples/mcp_agent/agent.py

What a language model would think of is written down here, call by call: it asks where it stands,
makes a plan, takes the first task, notices that a step was forgotten, changes the plan, asks why
the last task isn't ready, and ends one task after the other, each time with the next one in its
hands. The program prints what it calls, and what it learns from the answer.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any, Final
from uuid import uuid4

from mcp import Client, StdioServerParameters

SERVER: Final = os.environ.get("PLANSTORE_URL", "http://localhost:8011")
ME: Final = "ada the agent"

TOOLS: Final = StdioServerParameters(
    command=sys.executable,
    args=["-m", "planstore", "mcp"],
    env={**os.environ, "PLANSTORE_URL": SERVER},
)

RECIPE: Final = [
    {"name": "mix", "description": "Mix flour, eggs and milk."},
    {"name": "bake", "description": "Bake it.", "depends_on": ["mix"]},
    {"name": "serve", "description": "Serve it.", "depends_on": ["bake"]},
]
FORGOTTEN: Final = {"name": "cool", "description": "Let it cool down."}


async def call(tools: Client, tool: str, **arguments: Any) -> Any:
    """Call a tool; a refusal ends the program with the sentence that says why."""
    result = await tools.call_tool(tool, arguments)
    (content,) = result.content
    assert content.type == "text"
    if result.is_error:
        raise SystemExit(f"{tool} is refused: {content.text}")
    return json.loads(content.text)


async def find_out(tools: Client) -> None:
    known = await call(tools, "context", worker=ME)
    print(f"context: I hold {len(known['your_claims'])} tasks")


async def make_plan(tools: Client) -> dict[str, Any]:
    made = await call(
        tools,
        "create",
        goal="A cake",
        tasks=RECIPE,
        plan_type="dag",
        request_id=str(uuid4()),  # else it would be answered with the plan of the last run
    )
    print(f"create: {', '.join(each['name'] for each in made['tasks'])}")
    return made["plan"]


async def replan(tools: Client, plan: dict[str, Any]) -> None:
    change = await call(
        tools,
        "replan",
        plan=plan["id"],
        expected_revision=plan["revision"],
        operations=[{"op": "insert", "task": FORGOTTEN, "before": "serve"}],
        reason="hot cake hurts",
    )
    print(f"replan: {', '.join(change['added'])} is new")


async def explain(tools: Client, plan: dict[str, Any], name: str) -> None:
    (task,) = (await call(tools, "find", plan=plan["id"], name=[name]))["tasks"]
    told = await call(tools, "explain", id=task["id"])
    print(f"explain: {told['sentence']}")


async def carry_out(tools: Client, task: dict[str, Any]) -> None:
    """Do a task, and each that is handed over for it, until there is none."""
    following = [task]
    while following:
        (task,) = following
        done = await call(
            tools,
            "complete",
            task=task["id"],
            fencing_token=task["fencing_token"],
            output={"done_by": ME},
            claim_next=ME,
        )
        following = done.get("next", [])
        print(f"complete: {task['name']}; next is {[each['name'] for each in following]}")


async def main() -> None:
    async with Client(TOOLS) as tools:
        await find_out(tools)
        plan = await make_plan(tools)
        (task,) = (await call(tools, "claim", worker=ME, plan=plan["id"]))["tasks"]
        print(f"claim: {task['name']}")
        await replan(tools, plan)
        await explain(tools, plan, "serve")
        await carry_out(tools, task)
        told = await call(tools, "get", id=plan["id"])
        print(f"get: the plan is {told['plan']['status']}")


if __name__ == "__main__":
    asyncio.run(main())
