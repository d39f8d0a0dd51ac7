"""What an agent can do with the tools, over both transports, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest

from planstore.agents.fitting import MAX_ANSWER
from planstore.agents.tools import TOOLS
from planstore.errors import ERRORS_BY_CODE
from planstore.models.fields import DEFAULT_LIMITS
from tests.agents.conftest import MAX_DESCRIPTION, Agent, agent_over

if TYPE_CHECKING:
    from tests.served import Served

BOTH: Final = pytest.mark.parametrize("transport", ["stdio", "http"])

STEPS: Final = [
    {"name": "read", "description": "Read the sources."},
    {
        "name": "write",
        "description": "Write it up.",
        "depends_on": [{"task": "read", "type": "data"}],
        "input_data": {"sources": "{{read.found}}"},
    },
]


async def _plan(agent: Agent, *tasks: dict[str, Any], **more: Any) -> Any:
    return await agent.calls(
        "create", goal=str(uuid4()), tasks=[*tasks] or STEPS, plan_type="dag", **more
    )


@BOTH
async def test_a_goal_is_taken_to_a_finished_plan(server: Served, transport: str) -> None:
    async with agent_over(transport, server) as agent:
        worker = f"ada {uuid4()}"
        plan = (await _plan(agent))["plan"]["id"]
        claimed = await agent.calls("claim", worker=worker, plan=plan)
        (first,) = claimed["tasks"]
        told = await agent.calls(
            "update",
            id=first["id"],
            worker=worker,
            fencing_token=first["fencing_token"],
            progress=0.5,
            note="half way",
        )
        assert told["claim"]["state"] == "renewed"
        assert (await agent.calls("claim", worker=worker, plan=plan))["tasks"] == []

        done = await agent.calls(
            "complete",
            task=first["id"],
            fencing_token=first["fencing_token"],
            output={"found": ["a", "b"]},
            claim_next=worker,
        )
        (second,) = done["next"]
        assert (second["name"], second["input"]) == ("write", {"sources": ["a", "b"]})
        last = await agent.calls(
            "complete", task=second["id"], fencing_token=second["fencing_token"], output={"n": 1}
        )

        assert last["status"] == "completed"
        after = await agent.calls("get", id=plan)
        assert (after["plan"]["status"], after["plan"]["percent"]) == ("completed", 100.0)


@BOTH
async def test_an_agent_without_a_memory_goes_on_with_what_it_held(
    server: Served, transport: str
) -> None:
    worker = f"bob {uuid4()}"
    async with agent_over(transport, server) as before:
        plan = (await _plan(before))["plan"]["id"]
        (held,) = (await before.calls("claim", worker=worker, plan=plan))["tasks"]

    async with agent_over(transport, server) as agent:
        told = await agent.calls("context", worker=worker)

        (claim,) = told["your_claims"]
        assert claim == held
        assert [each["id"] for each in told["plans"]] == [plan]
        assert told["plans"][0]["tasks"] == {"running": 1, "blocked": 1}
        done = await agent.calls(
            "complete", task=claim["id"], fencing_token=claim["fencing_token"], output={"found": 1}
        )
        assert done["status"] == "completed"


async def test_who_begins_is_told_of_the_plans_that_run(server: Served) -> None:
    async with agent_over("http", server) as agent:
        plan = (await _plan(agent))["plan"]["id"]

        told = await agent.calls("context", worker="nobody yet")

        assert told["your_claims"] == []
        (found,) = [each for each in told["plans"] if each["id"] == plan]
        assert [each["name"] for each in found["ready_next"]] == ["read"]


async def test_a_call_whose_answer_got_lost_is_repeated_without_harm(server: Served) -> None:
    async with agent_over("http", server) as agent:
        given = {"goal": str(uuid4()), "tasks": STEPS, "plan_type": "dag"}
        made = await agent.calls("create", **given)
        plan = made["plan"]["id"]
        claim = {"worker": "ada", "plan": plan, "request_id": str(uuid4())}
        change = {
            "plan": plan,
            "expected_revision": made["plan"]["revision"],
            "operations": [{"op": "add", "task": {"name": "check", "description": "Check."}}],
            "reason": "it was forgotten",
        }

        assert await agent.calls("create", **given) == made
        other = await agent.calls("create", **given, request_id="again")
        assert other["plan"]["id"] != plan
        handed_out = await agent.calls("claim", **claim)
        assert await agent.calls("claim", **claim) == handed_out
        revised = await agent.calls("replan", **change)
        assert await agent.calls("replan", **change) == revised
        (task,) = handed_out["tasks"]
        end = {"task": task["id"], "fencing_token": task["fencing_token"], "output": {"found": 1}}
        ended = await agent.calls("complete", **end, claim_next="ada")
        assert await agent.calls("complete", **end, claim_next="ada") == ended
        names = [each["name"] for each in (await agent.calls("find", plan=plan))["tasks"]]
        assert names == ["read", "write", "check"]


async def test_a_plan_is_changed_while_it_runs(server: Served) -> None:
    async with agent_over("http", server) as agent:
        made = (await _plan(agent))["plan"]
        plan, revision = made["id"], made["revision"]
        operations = [
            {"op": "insert", "task": {"name": "check", "description": "C."}, "after": "read"}
        ]
        asked = {"plan": plan, "operations": operations, "reason": "to be sure"}

        tried = await agent.calls("replan", **asked, expected_revision=revision, dry_run=True)
        done = await agent.calls("replan", **asked, expected_revision=revision)
        asked["reason"] = "another one"
        stale = await agent.is_refused("replan", **asked, expected_revision=revision)

        assert (tried["applied"], done["applied"]) == (False, True)
        assert tried["added"] == done["added"] == ["check"]
        assert stale.startswith("version_mismatch: ")


async def test_a_run_fails_with_what_went_wrong(server: Served) -> None:
    async with agent_over("http", server) as agent:
        plan = (await _plan(agent))["plan"]["id"]
        (task,) = (await agent.calls("claim", worker="ada", plan=plan))["tasks"]
        end = {"task": task["id"], "fencing_token": task["fencing_token"]}

        failed = await agent.calls("fail", **end, error="no such file", retryable=False)

        assert failed["status"] == "failed"
        told = await agent.calls("explain", id=plan)
        assert told["failed"][0]["error"] == "no such file"
        why = await agent.calls("explain", id=task["id"])
        assert why["reasons"][0]["code"] == "failed"
        late = await agent.is_refused("complete", **end, output={"found": 1})
        assert late.startswith("stale_claim: ")


async def test_tasks_and_plans_are_edited_paused_and_given_up(server: Served) -> None:
    async with agent_over("http", server) as agent:
        plan = (await _plan(agent))["plan"]["id"]
        (task,) = (await agent.calls("claim", worker="ada", plan=plan))["tasks"]

        given_up = await agent.calls(
            "update", id=task["id"], fencing_token=task["fencing_token"], release=True
        )
        edited = await agent.calls("update", id=task["id"], set={"priority": 7})
        paused = await agent.calls("update", id=plan, paused=True)
        nothing = await agent.calls("claim", worker="ada", plan=plan)
        cancelled = await agent.calls("update", id=plan, set={"status": "cancelled"})

        assert given_up["task"]["status"] == "pending"
        assert edited["task"]["priority"] == 7
        assert "paused_at" in paused["plan"]
        assert (nothing["tasks"], "paused" in nothing["why"]) == ([], True)
        assert cancelled["plan"]["status"] == "cancelled"


async def test_all_that_is_wrong_with_arguments_is_said_at_once(server: Served) -> None:
    async with agent_over("http", server) as agent:
        text = await agent.is_refused("claim", wroker="ada", limit=0)
        neither = await agent.is_refused("update", id=str(uuid4()))
        unknown = await agent.is_refused("get", id=str(uuid4()))
        no_tool = await agent.is_refused("delete_everything")

        assert text.startswith("invalid_input: ")
        assert "/wroker: it is unknown; did you mean 'worker'?" in text
        assert "/limit: " in text
        assert "/worker: it is required" in text
        assert "is needed" in neither
        assert unknown.split(":")[0] in ERRORS_BY_CODE
        assert "there are: create, get" in no_tool


async def test_what_is_long_is_cut_and_can_be_read_piece_by_piece(server: Served) -> None:
    long = '"é\n' * 5_000
    async with agent_over("http", server) as agent:
        tasks = [
            {"name": f"t{n}", "description": "x" * 3_000, "input_data": {"deep": [long] * 3}}
            for n in range(20)
        ]
        made = await _plan(agent, *tasks)
        task = made["tasks"][0]["id"]

        calls: list[tuple[str, dict[str, Any]]] = [
            ("get", {"id": made["plan"]["id"]}),
            ("get", {"id": task}),
            ("claim", {"worker": "ada", "plan": made["plan"]["id"], "limit": 20}),
            ("find", {"plan": made["plan"]["id"], "limit": 100}),
            ("context", {"worker": "ada"}),
            ("explain", {"id": made["plan"]["id"]}),
        ]
        for tool, arguments in calls:
            answer = await agent.hears(tool, **arguments)
            assert len(answer.encode()) <= MAX_ANSWER
        cut = await agent.calls("get", id=task)
        assert "get(" in cut["cut"]

        pieces: list[str] = []
        offset: int | None = 0
        while offset is not None:
            piece = await agent.calls("get", id=task, field="input_data", offset=offset)
            pieces.append(piece["text"])
            offset = piece.get("next_offset")
        assert json.loads("".join(pieces)) == {"deep": [long] * 3}


async def test_the_tools_of_a_server_take_what_it_takes(server: Served) -> None:
    depth = DEFAULT_LIMITS.json_depth + 6
    nested = json.loads('{"in":' * depth + "0" + "}" * depth)
    async with agent_over("http", server) as agent:
        plan = (await _plan(agent, {"description": "d", "input_data": nested}, metadata=nested))[
            "plan"
        ]["id"]
        (task,) = (await agent.calls("claim", worker="ada", plan=plan))["tasks"]
        end = {"task": task["id"], "fencing_token": task["fencing_token"]}
        assert (await agent.calls("fail", **end, error={"message": "no", **nested}))["status"]
        again = {"id": task["id"], "set": {"status": "pending", "metadata": nested}}
        assert (await agent.calls("update", **again))["task"]["status"] == "pending"
        done = await agent.calls("complete", task=task["id"], output=nested)
        assert done["status"] == "completed"

        long = "x" * (MAX_DESCRIPTION + 1)
        refused = await agent.is_refused("update", id=task["id"], set={"description": long})

        assert f"at most {MAX_DESCRIPTION} are allowed" in refused


@BOTH
async def test_the_list_of_tools_costs_little(server: Served, transport: str) -> None:
    async with agent_over(transport, server) as agent:
        tools = (await agent.client.list_tools()).tools

        assert [tool.name for tool in tools] == [*TOOLS]
        assert len(tools) <= 10
        size = sum(len(tool.model_dump_json(by_alias=True, exclude_none=True)) for tool in tools)
        # A token is three characters of JSON or more.
        assert size / 3 < 3_000
        for tool in tools:
            assert tool.annotations is not None
            is_reading = tool.name in {"get", "find", "explain", "context"}
            assert tool.annotations.read_only_hint is is_reading
            assert tool.input_schema["additionalProperties"] is False
