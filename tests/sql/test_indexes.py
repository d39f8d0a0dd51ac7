"""Each hot statement finds its rows by an index, whatever PostgreSQL knows of the tables.

The statements are those that the functions send, caught on their way, and they are explained as
the connections of a pool plan them: once, for whatever parameters, and mostly while the tables are
still empty.
"""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from itertools import combinations, count, product
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from uuid import uuid4

import pytest

from planstore.db import Database
from planstore.models import TaskDraft
from planstore.models.approval import Decision, Review
from planstore.models.claim import ClaimRequest, HeartbeatClaim
from planstore.models.dependency import Condition, DependencyType
from planstore.models.idempotency import RequestKey
from planstore.services.placing import new_tasks
from planstore.services.plan_store import PlanStore
from planstore.sql import derivation, plans, spending, tasks
from planstore.sql.tasks import End, Ending, NewEdge
from tests.holder import claim, complete_all, release
from tests.services.weaving import woven

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

    import asyncpg

    from planstore.sql.connection import Connection
    from tests.conftest import Postgres


@pytest.fixture(scope="module", params=["empty", "filled", "analyzed"])
def url(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[str]:
    """A database without rows; with thousands, of which PostgreSQL knows nothing; or all."""
    with asyncio.Runner() as runner:
        made = postgres.database()
        url = runner.run(made.__aenter__())
        if request.param != "empty":
            runner.run(_fill(url, is_analyzed=request.param == "analyzed"))
        yield url
        runner.run(made.__aexit__(None, None, None))


async def _fill(url: str, *, is_analyzed: bool) -> None:
    async with PlanStore.open(url, migrate=False) as store, Database.open(url) as database:
        async with database.connection() as conn:
            for table in ("plans", "tasks", "task_states", "dependencies", "events"):
                await conn.execute(f"alter table planstore.{table} set (autovacuum_enabled = off)")
        layers = {
            f"{layer}-{n}": [f"{layer - 1}-{m % 100}" for m in (n, n + 1)] if layer else []
            for layer, n in product(range(20), range(100))
        }
        large, _ = await woven(store, layers)
        for number in range(60):
            plan, _ = await woven(
                store,
                {f"t{n}": [f"t{n - 1}"] if n % 3 else [] for n in range(20)},
                plan_type="sequential" if number % 2 else "dag",
                max_parallel_tasks=5 if number % 5 == 0 else None,
            )
            if number % 4 == 0:
                await store.pause_plan(plan.id)
        await complete_all(store, await claim(store, plan=large, limit=150))
        await claim(store, limit=200)
        if is_analyzed:
            async with database.connection() as conn:
                await conn.execute("analyze")


def _claiming(*, plan: bool, types: bool, agent: bool) -> Callable[[Connection], Any]:
    request = ClaimRequest(
        worker_id="w1",
        limit=10,
        plan_id=uuid4() if plan else None,
        task_types=["read", "write"] if types else None,
        agent_id=uuid4() if agent else None,
    )
    return lambda conn: tasks.claim(conn, request)


def _shape(**asked: bool) -> str:
    names = [name for name, is_asked in asked.items() if is_asked]
    return f"claim of {' and '.join(names) or 'any'}"


CLAIMS: Final[dict[str, Callable[[Connection], Awaitable[Any]]]] = {
    _shape(plan=plan, types=types, agent=agent): _claiming(plan=plan, types=types, agent=agent)
    for plan, types, agent in product((False, True), repeat=3)
}

_NEW: Final = new_tasks(uuid4(), [TaskDraft(description="do it")] * 2)
_ONE: Final = _NEW[:1]
_EDGE: Final = NewEdge(
    _NEW[0].plan_id, _NEW[0].id, uuid4(), Condition.SUCCESS, DependencyType.BLOCKING
)
_KEY: Final = RequestKey("create_task", "1", b"")
_COMPLETION: Final = Ending(uuid4(), End.COMPLETE, token=1)
_BEAT: Final = HeartbeatClaim(task_id=uuid4(), fencing_token=1)

OTHERS: Final[dict[str, Callable[[Connection], Awaitable[Any]]]] = {
    "create": lambda conn: tasks.create(conn, _NEW),
    "create with dependencies": lambda conn: tasks.create(conn, _NEW, [_EDGE], is_locked=True),
    "create with keys": lambda conn: tasks.create(conn, [_NEW[0]._replace(key=_KEY), _NEW[1]]),
    "create where free": lambda conn: tasks.create(conn, _NEW, is_waiting=False),
    "create one": lambda conn: tasks.create(conn, _ONE),
    "create one with a key": lambda conn: tasks.create(conn, [_NEW[0]._replace(key=_KEY)]),
    "create one where free": lambda conn: tasks.create(conn, _ONE, is_waiting=False),
    "end": lambda conn: tasks.end(conn, [_COMPLETION]),
    "change": lambda conn: tasks.change(
        conn, uuid4(), {"status": "running"}, expected_version=None, token=None, key=None
    ),
    "renew": lambda conn: tasks.renew(conn, "w1", [_BEAT]),
    "overdue": lambda conn: tasks.overdue(conn, limit=100),
    "seconds to next": tasks.seconds_to_next,
    "lock plans of tasks": lambda conn: plans.lock_of_tasks(conn, [uuid4()]),
    "many": lambda conn: tasks.many(conn, [uuid4()]),
    "attempts": lambda conn: tasks.attempts(conn, uuid4()),
    "offer": lambda conn: tasks.offer(conn, uuid4()),
    "lock what is ready": lambda conn: derivation.lock(conn, uuid4()),
    "decide": lambda conn: tasks.decide(conn, uuid4(), Decision.APPROVED, Review()),
    "record usage": lambda conn: spending.record(conn, {uuid4(): {"cost_usd": 1}}),
    "judge budgets": lambda conn: spending.judge(conn, [uuid4()]),
    "plans to be stopped": lambda conn: spending.stopping(conn, limit=100),
}

OF_ONE_PLAN: Final = {"offer", "lock what is ready", "judge budgets"}
"""What may go through the ready tasks of a plan, which are few or all concerned; or through all its
tasks, where a budget has their runs counted."""

HOT: Final = {**CLAIMS, **OTHERS}


class Scan(NamedTuple):
    """That a statement reads a table."""

    kind: str
    on: str
    by: str | None
    """The index."""
    condition: str | None
    above: str

    @property
    def is_by_index(self) -> bool:
        """Whether it goes to the rows that it is for; or to the first one in an order."""
        is_first = self.above == "Limit" and self.kind != "Bitmap Index Scan"
        return self.kind != "Seq Scan" and (self.condition is not None or is_first)

    @property
    def is_of_whole_plan(self) -> bool:
        is_of_plan = re.fullmatch(r"\(plan_id = [^()]+\)", self.condition or "")
        return is_of_plan is not None and self.above != "Limit"


_NUMBERS: Final = count()

SCANS: Final = {"Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Index Scan"}


async def scans_of(
    conn: Connection, statement: Callable[[Connection], Awaitable[Any]]
) -> list[Scan]:
    """How the tables are read by what ``statement`` sends."""
    name = await prepared(conn, statement)
    scans = await scans_of_prepared(conn, name)
    await conn.execute(f"deallocate {name}")
    return scans


async def prepared(conn: Connection, statement: Callable[[Connection], Awaitable[Any]]) -> str:
    """Prepare what ``statement`` sends; answers under which name."""
    sent: list[str] = []
    undo = conn.transaction()
    await undo.start()
    with conn.query_logger(lambda record: sent.append(record.query)):
        await statement(conn)
    await undo.rollback()
    (query,) = [each for each in sent if "planstore." in each]  # the driver asks for types
    name = f"hot_{next(_NUMBERS)}"
    await conn.execute(f"prepare {name} as {query}")
    return name


async def scans_of_prepared(conn: Connection, name: str) -> list[Scan]:
    """How the tables are read by a statement that was prepared."""
    parameters = await conn.fetchval(
        "select cardinality(parameter_types) from pg_prepared_statements where name = $1", name
    )
    given = f"({', '.join(['null'] * parameters)})" if parameters else ""
    explained = await conn.fetchval(f"explain (format json) execute {name} {given}")
    (plan,) = explained
    return list(_scans(plan["Plan"], above=""))


def _scans(node: dict[str, Any], *, above: str) -> Iterator[Scan]:
    kind = node["Node Type"]
    if kind in SCANS:
        on = node.get("Relation Name") or node["Index Name"]
        yield Scan(kind, on, node.get("Index Name"), node.get("Index Cond"), above)
    for child in cast("list[dict[str, Any]]", node.get("Plans", [])):
        yield from _scans(child, above=kind)


async def test_a_hot_statement_finds_its_rows_by_an_index(
    url: str, subtests: pytest.Subtests
) -> None:
    async with Database.open(url, pool_size=1) as database, database.connection() as conn:
        for name, statement in HOT.items():
            with subtests.test(name=name):
                scans = await scans_of(conn, statement)

                assert scans
                assert [scan for scan in scans if not scan.is_by_index] == []
                if name not in OF_ONE_PLAN:
                    assert [scan for scan in scans if scan.is_of_whole_plan] == []


@asynccontextmanager
async def explaining(conn: Connection) -> AsyncGenerator[list[Scan]]:
    """How the tables are read by all that is sent, and by the steps of the functions in it."""
    scans: list[Scan] = []

    def note(_conn: object, message: asyncpg.PostgresLogMessage) -> None:
        told = message.as_dict()["message"]
        if "plan:" in told:
            scans.extend(_scans(json.loads(told.partition("plan:")[2])["Plan"], above=""))

    conn.add_log_listener(note)
    await conn.execute(
        "load 'auto_explain'; set auto_explain.log_nested_statements = on;"
        "set auto_explain.log_format = json; set auto_explain.log_level = notice;"
        "set auto_explain.log_min_duration = 0"
    )
    yield scans
    await conn.execute("set auto_explain.log_min_duration = -1")
    conn.remove_log_listener(note)


async def test_what_one_task_is_handed_over_with_is_found_by_an_index(url: str) -> None:
    async with PlanStore.open(url, migrate=False) as store:
        plan, _ = await woven(store, {"a": [], "b": ["a"]})
        await complete_all(store, await claim(store, plan=plan))
        await release(store, (await claim(store, plan=plan))[0])
    request = ClaimRequest(worker_id="w1", plan_id=plan.id)
    async with Database.open(url, pool_size=1) as database, database.connection() as conn:
        nothing = request.model_copy(update={"plan_id": uuid4()})
        await tasks.claim(conn, nothing)  # the driver asks for types
        async with explaining(conn) as scans:
            (row,) = await tasks.claim(conn, request)

        assert [each["name"] for each in row["dependencies"]] == ["a"]
        assert [each["outcome"] for each in row["previous_attempts"]] == ["released"]
        assert {"dependencies_pkey", "attempts_pkey"} <= {each.by for each in scans}
        assert [scan for scan in scans if not scan.is_by_index or scan.is_of_whole_plan] == []


async def test_one_task_is_found_by_an_index_whatever_is_asked_for(url: str) -> None:
    kinds, agent = ["read", "write"], uuid4()
    requests = [
        ClaimRequest.model_validate({"worker_id": "w1", **dict(asked)})
        for count in range(4)
        for asked in combinations(
            [("plan_id", uuid4()), ("task_types", kinds), ("agent_id", agent)], count
        )
    ]
    async with Database.open(url, pool_size=1) as database, database.connection() as conn:
        await tasks.claim(conn, requests[0])  # the driver asks for types
        for request in requests:
            async with explaining(conn) as scans:
                await tasks.claim(conn, request)

            assert scans
            assert [scan for scan in scans if not scan.is_by_index or scan.is_of_whole_plan] == []


async def test_each_step_of_completing_finds_its_rows_by_an_index(url: str) -> None:
    needs: dict[str, list[str]] = {"a": [], "b": ["a"], "c": []}
    orders = {"a": {"sequence_order": 1}, "b": {"sequence_order": 2}, "c": {"sequence_order": 2}}
    async with PlanStore.open(url, migrate=False) as store:
        plan, _ = await woven(store, needs, fields=orders, plan_type="sequential")
        (held,) = await claim(store, plan=plan, limit=1)
    ending = Ending(held.id, End.COMPLETE, token=held.fencing_token)
    async with Database.open(url, pool_size=1) as database, database.connection() as conn:
        await tasks.complete(conn, [_COMPLETION])  # the driver asks for types
        async with explaining(conn) as scans:
            row = await tasks.complete(conn, [ending])

        assert row["verdict"] == "changed"
        assert len(row["unblocked"]) == 2
        assert {"plans_pkey", "tasks_in_order", "dependencies_of_needed"} <= {
            each.by for each in scans
        }
        assert [scan for scan in scans if not scan.is_by_index or scan.is_of_whole_plan] == []


async def test_going_on_to_the_next_task_finds_it_and_the_completed_one_by_an_index(
    url: str,
) -> None:
    async with PlanStore.open(url, migrate=False) as store:
        plan, _ = await woven(store, {"a": [], "b": []})
        (held,) = await claim(store, plan=plan, limit=1)
    ending = Ending(held.id, End.COMPLETE, token=held.fencing_token)
    request = ClaimRequest(worker_id="w1", plan_id=plan.id)
    async with Database.open(url, pool_size=1) as database, database.connection() as conn:
        # The driver asks for types.
        await tasks.complete_and_claim(conn, _COMPLETION, request, is_whole=True)
        async with explaining(conn) as scans:
            both = await tasks.complete_and_claim(conn, ending, request, is_whole=True)

        assert both.task["id"] == held.id
        assert len(both.claimed) == 1
        assert {"plans_pkey", "tasks_pkey", "task_states_pkey"} <= {each.by for each in scans}
        assert [scan for scan in scans if not scan.is_by_index or scan.is_of_whole_plan] == []


async def test_adding_a_task_for_somebody_who_waits_finds_all_by_an_index(url: str) -> None:
    async with PlanStore.open(url, migrate=False) as store:
        plan, _ = await woven(store, {"a": []})
    request = ClaimRequest(worker_id="w1", plan_id=plan.id)
    (new,) = new_tasks(plan.id, [TaskDraft(description="do it")])
    new = new._replace(key=_KEY)
    async with Database.open(url, pool_size=1) as database, database.connection() as conn:
        # The driver asks for types.
        await tasks.create_and_claim(conn, new._replace(plan_id=uuid4()), request)
        async with explaining(conn) as scans:
            both = await tasks.create_and_claim(conn, new, request)

        assert both.first["verdict"] == "changed"
        assert len(both.claimed) == 1
        assert {"plans_pkey", "tasks_pkey", "task_states_pkey"} <= {each.by for each in scans}
        assert [scan for scan in scans if not scan.is_by_index or scan.is_of_whole_plan] == []


async def test_what_follows_is_derived_from_a_plan_s_rows_as_sets(url: str) -> None:
    async with Database.open(url, pool_size=1) as database, database.connection() as conn:
        await derivation.derive(conn, uuid4())  # the driver asks for types
        async with explaining(conn) as scans:
            await derivation.derive(conn, uuid4())

        assert [scan for scan in scans if not scan.is_by_index] == []
        read = {"tasks", "dependencies", "task_states"}
        assert {scan.on for scan in scans if scan.is_of_whole_plan} >= read
