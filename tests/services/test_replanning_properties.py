"""Whatever is asked of a plan's structure while it is carried out: it is made as it was said."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import NAMESPACE_OID, uuid5

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pydantic import MISSING

from planstore.db import Database
from planstore.errors import PlanStoreError, RevisionRefused, VersionMismatch
from planstore.models import PlanCreate, TaskCreate, TaskUpdate
from planstore.models import TaskStatus as S
from planstore.models.claim import ClaimRequest, Completion, Failure, Release
from planstore.models.dependency import Condition, DependenciesUpdate
from planstore.models.plan import OnFailure
from planstore.models.revision import RevisionDraft, WantedTasks
from planstore.services.plan_store import PlanStore
from tests import replanning_meaning as meaning
from tests.health import assert_healthy
from tests.history import all_events

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from uuid import UUID

    from planstore.models.claim import WorkPacket
    from planstore.models.revision import RevisionAnswer
    from tests.conftest import Postgres
    from tests.replanning_meaning import Picture

T = TypeVar("T")
Json = dict[str, Any]

EXAMPLES: Final = int(os.environ.get("PLANSTORE_TEST_EXAMPLES", "25"))
STEPS: Final = 25
MANY: Final = 9
"""Few tasks, for then they meet."""

TABLES: Final = (
    *("dependencies", "attempts", "task_states", "tasks", "plans", "events", "idempotency_keys"),
)

_FINGERPRINT: Final = """
select
  (select (to_jsonb(p) - 'derivations')::text from planstore.plans p),
  (select string_agg(t::text, '; ' order by t.id) from planstore.tasks t),
  (select string_agg(s::text, '; ' order by s.task_id) from planstore.task_states s),
  (select string_agg(d::text, '; ' order by d.task_id, d.needs_id) from planstore.dependencies d),
  (select string_agg(a::text, '; ' order by a.task_id, a.attempt) from planstore.attempts a)
"""

NUMBERS: Final = st.integers(0, 59)
"""Which one of several: counted round and round."""

WHEN: Final = st.sampled_from([Condition.SUCCESS, Condition.SUCCESS, *Condition])
NEEDS: Final = st.lists(st.tuples(NUMBERS, WHEN), max_size=2)
FEW_NEEDS: Final = st.just([]) | st.just([]) | NEEDS
RARELY: Final = st.sampled_from([False] * 5 + [True])
ORDERS: Final = st.sampled_from([None] * 6 + [0, 1, 2, 3, 5])
SHAPES: Final = st.fixed_dictionaries(
    {
        "plan_type": st.sampled_from(["sequential", "dag"]),
        "on_failure": st.sampled_from(OnFailure),
        "max_parallel_tasks": st.sampled_from([None, None, 1, 2]),
        "status": st.sampled_from([*["active"] * 5, "draft"]),
    }
)
KINDS: Final = st.fixed_dictionaries(
    {
        "needs": FEW_NEEDS,
        "order": ORDERS,
        "priority": st.sampled_from([0, 0, 1]),
        "feeds": st.sampled_from([None] * 4) | NUMBERS,
        "is_known": RARELY,
    }
)
"""What a new task is like. ``feeds``: whose output it takes; ``is_known``: it has an id."""

SETTINGS: Final = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.integers(-1, 1),
        "sequence_order": st.integers(0, 5),
        "name": st.sampled_from([True, True, True, False]),
        "input": st.none() | NUMBERS,
        "depends_on": NEEDS,
        "not_before": st.sampled_from([None, "2001-01-01T00:00:00Z", "2101-01-01T00:00:00Z"]),
    },
)
"""What is set of a task. ``name``: whether it is a new one, or one that is there; ``input``: whose
output it takes."""


def _op(op: str, **fields: Any) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries({"op": st.just(op), **fields})


OPERATIONS: Final = st.one_of(
    _op("add", task=KINDS),
    _op("change", at=NUMBERS, set=SETTINGS, restart=st.booleans()),
    _op("remove", at=NUMBERS, restart=st.booleans()),
    _op("split", at=NUMBERS, into=st.lists(KINDS, min_size=1, max_size=3), restart=st.booleans()),
    _op("insert", at=NUMBERS, task=KINDS, side=st.sampled_from(["after", "before"])),
    _op("rewire", at=NUMBERS, needs=NEEDS, restart=st.booleans()),
    _op(
        "reorder", order=st.lists(st.lists(NUMBERS, min_size=1, max_size=2), min_size=1, max_size=4)
    ),
)
ASKED: Final = st.fixed_dictionaries(
    {
        "expects": st.sampled_from([None, *[0] * 8, -1]),
        "pause_first": RARELY,
        "is_dry": RARELY,
    }
)
"""``expects``: by how much the revision that is expected differs from the right one, if any is."""

WANTED: Final = st.fixed_dictionaries(
    {
        "left_out": st.lists(NUMBERS, max_size=2),
        "set": st.lists(st.tuples(NUMBERS, SETTINGS), max_size=2),
        "by_id": st.lists(NUMBERS, max_size=3),
        "restarted": st.lists(NUMBERS, max_size=1),
        "swapped": st.lists(st.tuples(NUMBERS, NUMBERS), max_size=1),
        "new": st.lists(st.tuples(NUMBERS, KINDS), max_size=2),
    }
)
"""How the list differs from what is there."""


class ReplanningMachine(RuleBasedStateMachine):
    """A store with one plan, that is replanned and carried out at once."""

    runner: asyncio.Runner
    store: PlanStore
    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.packets: list[WorkPacket] = []

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def picture(self) -> Picture:
        return self.run(meaning.take(self.database))

    async def fingerprint(self) -> tuple[Any, int]:
        async with self.database.connection() as conn:
            rows = await conn.fetchrow(_FINGERPRINT)
        return rows, len(await all_events(self.database))

    def try_to(self, call: Coroutine[Any, Any, Any]) -> Any:
        """Make a call that may be refused."""
        try:
            return self.run(call)
        except PlanStoreError:
            return None

    # What is asked, in words of the plan as it is.

    def new_name(self) -> str:
        self.number += 1
        return f"task {self.number:03}"

    def draft(self, kind: Json, names: list[str]) -> Json:
        name = self.new_name()
        fed: int | None = kind["feeds"]
        feeds = names[fed % len(names)] if fed is not None and names else None
        draft: Json = {
            "name": name,
            "description": "do it",
            "priority": kind["priority"],
            "depends_on": _entries(kind["needs"], names),
            "input_data": {"x": f"{{{{{feeds}.x}}}}" if feeds else "plain {{text.of}}"},
        }
        if kind["order"] is not None:
            draft["sequence_order"] = kind["order"]
        if kind["is_known"]:
            draft["id"] = str(uuid5(NAMESPACE_OID, name))
        return draft

    def changes(self, given: Json, names: list[str]) -> Json:
        fields = {
            name: given[name]
            for name in ("priority", "sequence_order", "not_before")
            if name in given
        }
        if "name" in given:  # a new one, or one that is there already
            fields["name"] = self.new_name() if given["name"] or not names else names[0]
        if "input" in given:
            fed = given["input"]
            fields["input_data"] = (
                {"x": f"{{{{{names[fed % len(names)]}.x}}}}"} if fed is not None and names else {}
            )
        if "depends_on" in given:
            fields["depends_on"] = _entries(given["depends_on"], names)
        return fields

    def operation(self, given: Json, names: list[str], open_names: list[str]) -> Json:
        """An operation on tasks that are there; its new ones are among the names then.

        ``open_names``: those that may be changed, as is mostly asked for.
        """
        at = "nothing"
        if "at" in given and names:
            number: int = given["at"]
            pool = open_names if open_names and number % 7 else names
            at = pool[number % len(pool)]
        earlier = [name for name in names if name < at or not given.get("at", 0) % 9]
        operation: Json = {"op": given["op"]}
        match given["op"]:
            case "add":
                operation["task"] = self.draft(given["task"], names)
                names.append(operation["task"]["name"])
            case "insert":
                operation |= {given["side"]: at, "task": self.draft(given["task"], earlier)}
                names.append(operation["task"]["name"])
            case "change":
                operation |= {"task": at, "set": self.changes(given["set"], earlier)}
            case "split":
                others = list(earlier)
                parts: list[Json] = []
                for kind in given["into"]:
                    parts.append(self.draft(kind, others))
                    others.append(parts[-1]["name"])
                operation |= {"task": at, "into": parts}
                names += [part["name"] for part in parts]
            case "rewire":
                operation |= {"task": at, "depends_on": _entries(given["needs"], earlier)}
            case "reorder":
                operation["order"] = [
                    [names[each % len(names)] if names else "nothing" for each in group]
                    for group in given["order"]
                ]
            case _:
                operation["task"] = at
        if given.get("restart"):
            operation["restart"] = True
        return operation

    # Replanning.

    @initialize(shape=SHAPES, kinds=st.lists(KINDS, min_size=2, max_size=6))
    def create_plan(self, shape: Json, kinds: list[Json]) -> None:
        names: list[str] = []
        tasks: list[Json] = []
        for kind in kinds:
            tasks.append(self.draft({**kind, "order": None}, names))
            names.append(tasks[-1]["name"])
        if shape["plan_type"] == "sequential" and kinds[0]["order"] is None:
            for number, task in enumerate(tasks):  # else they share one order
                task["sequence_order"] = number // 2 + 1
        self.run(self.store.create_plan(PlanCreate.model_validate({**shape, "tasks": tasks})))

    @rule(given=st.lists(OPERATIONS, min_size=1, max_size=3), asked=ASKED)
    def revise(self, given: list[Json], asked: Json) -> None:
        self.revise_by(given, asked)

    @rule(given=OPERATIONS)
    def revise_once(self, given: Json) -> None:
        self.revise_by([given], {"expects": 0, "pause_first": False, "is_dry": False})

    @rule(given=OPERATIONS)
    def claim_and_revise(self, given: Json) -> None:
        self.claim_some(2)
        self.revise_by([given], {"expects": None, "pause_first": False, "is_dry": False})

    def revise_by(self, given: list[Json], asked: Json) -> None:
        before = self.picture()
        names = sorted(before.names)
        open_names = [each for each in names if not meaning.is_immutable(before.names[each])]
        operations = [self.operation(each, names, open_names) for each in given]
        request = {"operations": operations, "reason": "why not", **_request(before, asked)}
        draft = RevisionDraft.model_validate(request)
        after = self.make(before, draft, asked, self.revised)
        if after is not None and len(operations) == 1:
            _assert_meant(operations[0], before, after)

    async def revised(self, plan_id: UUID, draft: RevisionDraft) -> RevisionAnswer:
        return await self.store.revise_plan(plan_id, draft)

    @rule(given=WANTED, asked=ASKED)
    def set_tasks(self, given: Json, asked: Json) -> None:
        before = self.picture()
        names = [
            task.name
            for task in sorted(before.tasks.values(), key=lambda task: task.sequence_order)
            if task.name is not None
        ]
        entries = self.entries(given, before, names)
        try:
            wanted = WantedTasks.model_validate({"tasks": entries, **_request(before, asked)})
        except ValueError:
            return  # two of a name
        after = self.make(before, wanted, asked, self.wanted)
        if after is None:
            return
        self.assert_as_listed(before, after, wanted)
        again = wanted.model_copy(update={"expected_revision": after.plan.revision})
        there = self.run(self.fingerprint())
        answer = self.run(self.wanted(after.plan.id, again))
        assert answer.revision == after.plan.revision
        assert not any((answer.added, answer.changed, answer.removed, answer.restarted))
        assert self.run(self.fingerprint()) == there

    def entries(self, given: Json, before: Picture, names: list[str]) -> list[Json]:
        """What there is, with the differences that are given."""
        entries: list[Json] = [{"name": name} for name in names]
        if names:
            ids = [str(before.names[name].id) for name in names]
            for number, fields in given["set"]:
                place = number % len(names)
                earlier = [each for each in names if each < names[place]]
                entries[place] |= self.changes({**fields, "name": True}, earlier)
                if fields.get("name"):
                    entries[place]["id"] = ids[place]
                else:
                    entries[place]["name"] = names[place]
            for number in given["by_id"]:
                entries[number % len(names)]["id"] = ids[number % len(names)]
            for number in given["restarted"]:
                entries[number % len(names)]["restart"] = True
            for numbers in given["swapped"]:
                one, other = (number % len(names) for number in numbers)
                entries[one], entries[other] = entries[other], entries[one]
        for number in given["left_out"]:
            entries[number % 7 : number % 7 + 1] = []
        for number, kind in given["new"]:
            new = self.draft(kind, names[:2])
            if number % 4:
                new.pop("sequence_order", None)
            entries.insert(number % (len(entries) + 1), new)
        return entries

    async def wanted(self, plan_id: UUID, wanted: WantedTasks) -> RevisionAnswer:
        return await self.store.set_tasks(plan_id, wanted)

    def assert_as_listed(self, before: Picture, after: Picture, wanted: WantedTasks) -> None:
        ids = {each.id for each in wanted.tasks if each.id in before.tasks}
        names = {each.name for each in wanted.tasks}
        for each, task in before.tasks.items():
            is_listed = each in ids or task.name in names
            if task.name is None or is_listed or not meaning.is_waiting(task):
                assert each in after.tasks
        for entry in wanted.tasks:
            was = before.tasks.get(entry.id) if entry.id is not MISSING else None
            if was is None and isinstance(entry.name, str) and entry.id is MISSING:
                was = before.names.get(entry.name)
            if was is None or not (meaning.is_immutable(was) or was.status == S.RUNNING):
                name = was.name if entry.name is MISSING and was is not None else entry.name
                assert isinstance(name, str)
                task = after.names[name]
                assert was is None or task.id == was.id
                for field, value in entry.named().items():
                    if field in {"priority", "input_data", "sequence_order"}:
                        assert getattr(task, field) == value

    def make(self, before: Picture, draft: Any, asked: Json, call: Any) -> Picture | None:
        """Try the change out, and then make it; answers the plan after it, unless it is refused."""
        there = self.run(self.fingerprint())
        tried = self.outcome(call(before.plan.id, draft.model_copy(update={"dry_run": True})))
        assert self.run(self.fingerprint()) == there
        if asked["is_dry"]:
            return None
        done = self.outcome(call(before.plan.id, draft))
        if isinstance(done, PlanStoreError):
            assert (type(tried), str(tried)) == (type(done), str(done))
            assert self.run(self.fingerprint()) == there
            assert isinstance(done, VersionMismatch if asked["expects"] == -1 else RevisionRefused)
            return None
        assert not isinstance(tried, PlanStoreError), tried
        assert asked["expects"] != -1
        assert _said(tried) == _said(done)
        after = self.picture()
        meaning.assert_answered(before, after, done)
        meaning.assert_left_alone(before, after, done)
        is_pausing = asked["pause_first"] and before.plan.paused_at is None
        if done.revision == before.plan.revision and not is_pausing:
            assert self.run(self.fingerprint()) == there
        assert after.plan.paused_at is not None or not asked["pause_first"]
        return after

    def outcome(self, call: Coroutine[Any, Any, T]) -> T | PlanStoreError:
        try:
            return self.run(call)
        except PlanStoreError as error:
            return error

    # Carrying out.

    @rule(limit=st.integers(1, 3))
    def claim(self, limit: int) -> None:
        self.claim_some(limit)

    def claim_some(self, limit: int) -> None:
        request = ClaimRequest(worker_id="ada", limit=limit, lease_seconds=3_600)
        packets = self.run(self.store.claim_tasks(request))
        self.packets += packets
        after = self.picture()
        for packet in packets:
            assert all(each.is_satisfied for each in packet.dependencies)
            assert {each.task_id for each in packet.dependencies} == after.needs[packet.id].keys()
            assert packet.plan_revision == after.plan.revision
            assert not after.is_sequential or all(
                task.status in {S.COMPLETED, S.SKIPPED}
                for task in after.tasks.values()
                if task.sequence_order < after.tasks[packet.id].sequence_order
            )

    @precondition(lambda self: self.packets)
    @rule(number=NUMBERS, how=st.sampled_from(["complete", "complete", "fail", "fail", "release"]))
    def report(self, number: int, how: str) -> None:
        packet = self.packets.pop(number % len(self.packets))
        is_held = self.picture().claims.get(packet.id, (0, 0))[0] == packet.fencing_token
        token = packet.fencing_token
        match how:
            case "complete":
                completion = Completion(fencing_token=token, output_data={"x": 1})
                call: Any = self.store.complete_task(packet.id, completion)
            case "fail":
                failure = Failure(fencing_token=token, error="no", retryable=bool(number % 2))
                call = self.store.fail_task(packet.id, failure)
            case _:
                call = self.store.release_task(packet.id, Release(fencing_token=token))
        outcome = self.outcome(call)
        assert isinstance(outcome, PlanStoreError) != is_held

    @rule(
        number=NUMBERS,
        how=st.sampled_from(["skip", "reset", "retry", *[S.COMPLETED] * 2, S.BLOCKED, S.PENDING]),
    )
    def do_by_hand(self, number: int, how: str) -> None:
        tasks = sorted(self.picture().tasks)
        if not tasks:
            return
        task_id = tasks[number % len(tasks)]
        match how:
            case "skip":
                self.try_to(self.store.skip_task(task_id))
            case "reset":
                self.try_to(self.store.reset_task(task_id))
            case "retry":
                self.try_to(self.store.retry_task(task_id))
            case _:
                update = TaskUpdate.model_validate({"status": how})
                self.try_to(self.store.update_task(task_id, update))

    @rule(kind=KINDS, is_named=st.booleans())
    def create_task(self, kind: Json, *, is_named: bool) -> None:
        before = self.picture()
        if len(before.tasks) < MANY:
            draft = self.draft(kind, sorted(before.names))
            if not is_named:
                del draft["name"]
            create = TaskCreate.model_validate({"plan_id": before.plan.id, **draft})
            self.try_to(self.store.create_task(create))

    @rule(number=NUMBERS, needs=NEEDS)
    def set_dependencies(self, number: int, needs: list[Any]) -> None:
        before = self.picture()
        if before.tasks:
            task_id = sorted(before.tasks)[number % len(before.tasks)]
            entries = _entries(needs, sorted(before.names))
            update = DependenciesUpdate.model_validate({"depends_on": entries})
            self.try_to(self.store.set_dependencies(task_id, update))

    @rule()
    def go_on(self) -> None:
        plan_id = self.picture().plan.id
        self.try_to(self.store.resume_plan(plan_id))
        self.try_to(self.store.start_plan(plan_id))

    # What always holds.

    @invariant()
    def all_is_well(self) -> None:
        self.run(assert_healthy(self.database))

    def teardown(self) -> None:
        self.run(self.clear())

    async def clear(self) -> None:
        async with self.database.connection() as conn:
            for table in TABLES:
                await conn.execute(f"delete from planstore.{table}")


def _entries(needs: list[tuple[int, Condition]], names: list[str]) -> list[Json]:
    if not names:
        return []
    return [{"task": names[number % len(names)], "when": when.value} for number, when in needs]


def _request(before: Picture, asked: Json) -> Json:
    expects = asked["expects"]
    return {
        "expected_revision": None if expects is None else max(before.plan.revision + expects, 1),
        "pause_first": asked["pause_first"],
    }


def _said(answer: RevisionAnswer) -> Json:
    """What an answer says, but for the ids that a dry run can't know."""
    said = answer.model_dump(exclude={"applied"})
    for mention in said["added"] + said["stranded"]:
        mention["id"] = None
    for names in ("added", "stranded"):
        said[names].sort(key=str)
    return said


def _assert_meant(operation: Json, before: Picture, after: Picture) -> None:
    """Assert that a revision of one operation did what that means."""
    if after.plan.revision == before.plan.revision:
        return
    names = before.names
    is_placed = any(
        "sequence_order" in draft
        for draft in [operation.get("task"), *operation.get("into", ())]
        if isinstance(draft, dict)
    )
    match operation:
        case {"op": "add", "task": draft}:
            meaning.assert_added(before, after, draft)
        case {"op": "insert", "task": draft, "after": name} if not is_placed:
            meaning.assert_inserted_after(before, after, draft["name"], names[name].id)
        case {"op": "insert", "task": draft, "before": name} if not is_placed:
            meaning.assert_inserted_before(before, after, draft["name"], names[name].id)
        case {"op": "remove", "task": name}:
            meaning.assert_removed(before, after, names[name].id)
        case {"op": "split", "task": name} if not is_placed:
            meaning.assert_split(before, after, names[name].id)
        case {"op": "rewire", "task": name, "depends_on": entries}:
            given = {names[each["task"]].id: each["when"] for each in entries}
            needs = after.needs[names[name].id]
            assert {each: when for each, (when, _) in needs.items() if each in given} == given
            assert all(kind == "data" for each, (_, kind) in needs.items() if each not in given)
        case {"op": "reorder", "order": groups}:
            meaning.assert_reordered(
                before, after, [[names[each].id for each in group] for group in groups]
            )
        case {"op": "change", "task": name, "set": fields}:
            task = after.tasks[names[name].id]
            assert all(
                getattr(task, field) == value
                for field, value in fields.items()
                if field not in {"depends_on", "not_before"}
            )
        case _:
            assert is_placed


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_a_plan_is_replanned_while_it_is_carried_out(
    postgres: Postgres, runner: asyncio.Runner
) -> None:
    stack = AsyncExitStack()

    async def open_store() -> tuple[PlanStore, Database]:
        url = await stack.enter_async_context(postgres.database())
        store = await stack.enter_async_context(PlanStore.open(url, migrate=False))
        return store, await stack.enter_async_context(Database.open(url))

    store, database = runner.run(open_store())
    try:
        opened = {"runner": runner, "store": store, "database": database}
        run_state_machine_as_test(
            type("OpenedReplanningMachine", (ReplanningMachine,), opened),
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
    finally:
        runner.run(stack.aclose())
