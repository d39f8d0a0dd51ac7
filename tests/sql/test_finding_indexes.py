"""Each filter of a list finds its rows by the index that is for it, in the order of the list.

A statement is explained as in `test_indexes`: as it is planned once, for whatever parameters.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import uuid4

from planstore.db import Database
from planstore.models import TaskStatus
from planstore.models.query import PlanFilter, TaskFilter
from planstore.sql import finding, marks
from planstore.sql.finding import composing, of_plans, of_tasks
from tests.sql.test_indexes import url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest

    from planstore.sql.connection import Connection

__all__ = ["url"]

A_TIME: Final = datetime(2026, 1, 1, tzinfo=UTC)

Found = dict[str, Any]

PLANS: Final[dict[str, tuple[Found, str]]] = {
    "all": ({}, "plans_recent"),
    "goal_id": ({"goal_id": uuid4()}, "plans_of_goal"),
    "agent_id": ({"agent_id": uuid4()}, "plans_of_agent"),
    "status": ({"status": "active"}, "plans_of_status"),
    "plan_type": ({"plan_type": "dag"}, "plans_of_type"),
    "template": ({"template": "release"}, "plans_of_template"),
    "created_after": ({"created_after": A_TIME}, "plans_recent"),
    "created_before": ({"created_before": A_TIME}, "plans_recent"),
}
"""What is asked for, and the index that has it in the order of the list."""

SOUGHT_PLANS: Final[dict[str, tuple[Found, str]]] = {
    "label": ({"label": ["blue", "red"]}, "plans_labelled"),
    "metadata": ({"metadata": {"customer": 7, "n": 1}}, "plans_with_metadata"),
    "words": ({"words": "deploy"}, "plan_words_found"),
}
"""What is asked for, and the index that has it where it is rare."""

TASKS: Final[dict[str, tuple[Found, str]]] = {
    "all": ({}, "tasks_recent"),
    "plan_id": ({"plan_id": uuid4()}, "tasks_in_order"),
    "agent_id": ({"agent_id": uuid4()}, "tasks_of_agent"),
    "task_type": ({"task_type": "build"}, "tasks_of_type"),
    "name": ({"name": "build"}, "tasks_named"),
    "worker": ({"worker": "w1"}, "task_states_running"),
    "awaits_approval": ({"awaits_approval": True}, "task_states_awaiting"),
    "created_after": ({"created_after": A_TIME}, "tasks_recent"),
    "created_before": ({"created_before": A_TIME}, "tasks_recent"),
    "ready": ({"ready": True}, "task_states_ready"),
    "ready of a plan": ({"ready": True, "plan_id": uuid4()}, "task_states_ready_of_plan"),
    "ready of a type": ({"ready": True, "task_type": "build"}, "task_states_ready_of_type"),
    "ready of an agent": ({"ready": True, "agent_id": uuid4()}, "task_states_ready_of_agent"),
    **{status: ({"status": status}, f"task_states_{status}") for status in TaskStatus},
}

SOUGHT_TASKS: Final[dict[str, tuple[Found, str]]] = {
    "label": ({"label": ["blue", "red"]}, "tasks_labelled"),
    "metadata": ({"metadata": {"customer": 7, "n": 1}}, "tasks_with_metadata"),
    "words": ({"words": "deploy"}, "task_words_found"),
}


@dataclass(slots=True)
class Reading:
    """How a statement reads tables."""

    by: set[str] = field(default_factory=set[str])
    """The indexes that it reads by."""
    from_end_to_end: list[str] = field(default_factory=list[str])
    """The tables of which it reads all."""
    sorted_whole: list[str] = field(default_factory=list[str])
    """What it sorts before it is cut to a page."""
    one_by_one: set[str] = field(default_factory=set[str])
    """The tables to which an index leads one row after the other."""
    is_by_whole_plans: bool = False
    """Whether it reads all tasks of a plan."""

    def note(self, node: dict[str, Any], *, is_sorted: bool = False) -> None:
        kind = node["Node Type"]
        name = node.get("Index Name") or node.get("Relation Name") or ""
        if kind in {"Index Scan", "Index Only Scan", "Bitmap Index Scan"}:
            self.by.add(name)
            if kind == "Index Scan":
                self.one_by_one.add(node["Relation Name"])
            if "Index Cond" not in node:
                self.from_end_to_end.append(name)
            if name == "tasks_in_order" and "(id = " not in node.get("Index Cond", ""):
                self.is_by_whole_plans = True
            is_of_page = " = f." in node.get("Index Cond", "")
            if is_sorted and not is_of_page:
                self.sorted_whole.append(name)
        elif kind == "Seq Scan":
            self.from_end_to_end.append(name)
        # What is below a limit is cut, but what a bitmap or a join brings isn't in order.
        is_sorted = kind == "Sort" or (is_sorted and kind not in {"Limit", "CTE Scan"})
        for child in cast("list[dict[str, Any]]", node.get("Plans", [])):
            is_cte = child.get("Parent Relationship") == "InitPlan"
            self.note(child, is_sorted=is_sorted and not is_cte)


async def readings_of(
    conn: Connection, statement: Callable[[Connection], Awaitable[Any]]
) -> list[Reading]:
    """How the tables are read by each of the statements that are sent."""
    sent: list[str] = []
    with conn.query_logger(lambda record: sent.append(record.query)):
        await statement(conn)
        await asyncio.sleep(0)  # the driver tells of it a moment later
    readings: list[Reading] = []
    for query in dict.fromkeys(each for each in sent if "planstore." in each):
        await conn.execute(f"prepare list as {query}")
        count = await conn.fetchval(
            "select cardinality(parameter_types) from pg_prepared_statements where name = 'list'"
        )
        given = ", ".join(["null"] * count)
        (plan,) = await conn.fetchval(f"explain (format json) execute list ({given})")
        await conn.execute("deallocate list")
        readings.append(Reading())
        readings[-1].note(plan["Plan"])
    return readings


def plans_by(found: Found) -> Callable[[Connection], Awaitable[Any]]:
    asked = finding.asked_of(PlanFilter.model_validate(found))
    return lambda conn: finding.plans(
        conn, asked, order=of_plans.NEWEST, after=None, limit=100, offset=0
    )


def tasks_by(found: Found) -> Callable[[Connection], Awaitable[Any]]:
    asked = finding.asked_of(TaskFilter.model_validate(found))
    order = of_tasks.NEWEST
    if "ready" in found:
        order = of_tasks.READY
    elif "plan_id" in found:
        order = of_tasks.IN_PLAN
    return lambda conn: finding.tasks(conn, asked, order=order, after=None, limit=100, offset=0)


def with_status(lists: dict[str, tuple[Found, str]], status: str) -> dict[str, tuple[Found, str]]:
    """The same lists, each of those that stand there too."""
    return {
        f"{name} and status": ({**found, "status": status}, index)
        for name, (found, index) in lists.items()
        if not found.keys() & {"status", "created_after", "created_before"} and found
    }


WALKS: Final = {
    **{f"plans by {name}": (plans_by(found), index) for name, (found, index) in PLANS.items()},
    **{
        f"plans by {name}": (plans_by(found), index)
        for name, (found, index) in with_status(PLANS, "active").items()
        if name != "plan_type and status"
    },
    **{f"tasks by {name}": (tasks_by(found), index) for name, (found, index) in TASKS.items()},
    **{
        f"tasks by {name}": (tasks_by(found), index)
        for name, (found, index) in with_status(TASKS, "running").items()
    },
    "plans by type and status": (
        plans_by({"plan_type": "dag", "status": "active"}),
        "plans_of_status",
    ),
    "plans by two agents": (plans_by({"agent_id": [uuid4(), uuid4()]}), "plans_of_agent"),
    "tasks by two agents": (tasks_by({"agent_id": [uuid4(), uuid4()]}), "tasks_of_agent"),
    "tasks by time and status": (
        tasks_by({"created_after": A_TIME, "status": "failed"}),
        "task_states_failed",
    ),
}

DIGS: Final = {
    f"{noun} by {name}": (by(found), index)
    for noun, by, sought, status in (
        ("plans", plans_by, SOUGHT_PLANS, "active"),
        ("tasks", tasks_by, SOUGHT_TASKS, "failed"),
    )
    for name, (found, index) in {**sought, **with_status(sought, status)}.items()
}


LISTS: Final = {
    f"{noun} by {name}": (by(found), index)
    for noun, by, index in (
        ("plans", plans_by, "plan_marks_listed"),
        ("tasks", tasks_by, "task_marks_listed"),
    )
    for name, found in {
        "label": {"label": "blue"},
        "metadata": {"metadata": {"customer": {"id": 7}}},
        "label and time": {"label": "blue", "created_after": A_TIME},
    }.items()
}

OF_DUE: Final = {
    *("task_words_due", "tasks_pkey"),
    *("task_marks_pkey", "task_marks_listed", "task_words_pkey", "task_words_recent"),
}
"""What is read of the few tasks that are yet to be listed, by any index while there is nothing."""


async def test_what_has_a_label_or_a_value_is_read_off_its_list(
    url: str, subtests: pytest.Subtests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "_DUE_AT_MOST", 10**9)
    async with Database.open(url, pool_size=1) as database, database.connection() as conn:
        for name, (statement, index) in LISTS.items():
            with subtests.test(name=name):
                *_, reading = await readings_of(conn, statement)

                assert index in reading.by
                assert {*reading.from_end_to_end} <= OF_DUE
                assert {*reading.sorted_whole} <= OF_DUE


async def test_a_list_is_read_off_the_index_of_its_filter(
    url: str, subtests: pytest.Subtests
) -> None:
    async with Database.open(url, pool_size=1) as database, database.connection() as conn:
        for name, (statement, index) in WALKS.items():
            with subtests.test(name=name):
                (reading,) = await readings_of(conn, statement)

                assert index in reading.by
                assert reading.from_end_to_end == []
                assert reading.sorted_whole == []


async def test_the_rows_of_a_page_are_read_at_once(url: str, subtests: pytest.Subtests) -> None:
    async with Database.open(url, pool_size=1) as database, database.connection() as conn:
        # Where each task stands is sought one by one by a PostgreSQL that is older.
        states = set[str]() if conn.get_server_version().major >= 17 else {"task_states"}
        for found, one_by_one in (
            ({"agent_id": uuid4()}, states),
            ({"name": "build"}, states),
            ({"task_type": "build"}, states),
            ({"worker": "w1"}, set[str]()),
            ({"status": "running"}, states),
            ({"created_after": A_TIME}, states),
            # The few that are due are looked at before.
            ({"label": "blue"}, {"tasks", *states}),
        ):
            with subtests.test(found=found):
                *_, reading = await readings_of(conn, tasks_by(found))

                assert reading.one_by_one & {"tasks", "task_states"} <= one_by_one


async def test_what_is_rare_is_dug_out_of_the_index_that_knows_it(
    url: str, subtests: pytest.Subtests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(composing, "_TRIED", 0)
    monkeypatch.setattr(of_plans, "LISTED", 0)
    monkeypatch.setattr(of_tasks, "LISTED", 0)
    monkeypatch.setattr(of_tasks, "_PARTS_TRIED", 0)
    async with Database.open(url, pool_size=1) as database, database.connection() as conn:
        for name, (statement, index) in DIGS.items():
            with subtests.test(name=name):
                *_, trial, digging = await readings_of(conn, statement)

                assert index not in trial.by
                assert {*trial.from_end_to_end} <= OF_DUE
                assert {*trial.sorted_whole} <= OF_DUE
                assert index in digging.by
                assert not digging.is_by_whole_plans
                # What is yet to be indexed is looked at as it stands.
                assert {*digging.from_end_to_end} <= {"task_words_due"}


async def test_no_more_is_tried_than_it_takes(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composing, "_TRIED", 200)
    monkeypatch.setattr(marks, "_DUE_AT_MOST", 1)
    one_of_twenty = finding.asked_of(TaskFilter(words="t7"))
    async with (
        Database.open(url, pool_size=1) as database,
        database.connection() as conn,
        conn.transaction(),
    ):
        before = await conn.fetchval(_TASKS_READ)
        tasks = await finding.tasks(
            conn, one_of_twenty, order=of_tasks.NEWEST, after=None, limit=5, offset=0
        )
        read = await conn.fetchval(_TASKS_READ) - before

    assert read <= 20 * len(tasks) + len(tasks)


_TASKS_READ: Final = """
select s.idx_tup_fetch
from pg_stat_xact_user_tables s
where s.relid = 'planstore.tasks'::regclass
"""
