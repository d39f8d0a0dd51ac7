"""The ten tools. Each parses its arguments, calls the store and tells briefly what came of it.

Repeating a call after its answer got lost does no harm: what makes something is kept under a key
made of its arguments, and the rest is lenient by itself.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from pydantic import BaseModel
from pydantic_core import to_json

from planstore.agents import briefs
from planstore.agents.arguments import (
    DEFAULT_LEASE,
    Arguments,
    Claim,
    Complete,
    Context,
    Create,
    Explain,
    Fail,
    Find,
    Get,
    Replan,
    Update,
)
from planstore.agents.fitting import fitted, part_of
from planstore.errors import Fault, InvalidInput, NotFound
from planstore.models import Plan, PlanCreate, PlanStatus, PlanUpdate, Task, TaskStatus, TaskUpdate
from planstore.models.claim import (
    ClaimRequest,
    Completion,
    Failure,
    Heartbeat,
    HeartbeatClaim,
    Release,
)
from planstore.models.fields import DEFAULT_LIMITS, Limits
from planstore.models.idempotency import Idempotency
from planstore.models.query import PlanFilter, TaskFilter
from planstore.models.revision import RevisionDraft
from planstore.routers.reading import parse_body

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from planstore.client import AsyncPlanStoreClient
    from planstore.services.plan_store import PlanStore

    Store = PlanStore | AsyncPlanStoreClient

A = TypeVar("A", bound=Arguments)
M = TypeVar("M", bound=BaseModel)

_SHOWN: Final = 60
"""How many tasks of a plan are listed."""

_PLANS: Final = 5
"""Of how many plans a context tells."""

_NEXT: Final = 5
"""How many ready tasks of a plan it names."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Where the tools work: at a store, and with what it takes at most."""

    store: Store
    limits: Limits = DEFAULT_LIMITS

    def parsed(self, content: dict[str, Any], model: type[M]) -> M:
        """Return what a language model has said as a model.

        Raises:
            InvalidInput: it doesn't fit; all faults are named.
        """
        return parse_body(to_json(content), model, limits=self.limits)

    def made(self, model: type[M], **fields: Any) -> M:
        """Return a model of fields that were taken already."""
        return model.model_validate(fields, context=self.limits)


@dataclass(frozen=True, slots=True)
class Tool(Generic[A]):
    """One thing that a language model can do."""

    name: str
    description: str
    arguments: type[A]
    call: Callable[[Desk, A], Awaitable[briefs.Brief]]
    is_reading: bool = False
    """Whether it changes nothing."""
    is_repeatable: bool = True
    """Whether calling it again with the same arguments has no further effect."""
    takes_back: bool = False
    """Whether it may undo or remove what is there."""
    hint: str = "get(id, field) shows one field whole."
    """How to see what an answer leaves out."""

    async def run(self, desk: Desk, given: dict[str, Any]) -> str:
        """Do it; answers JSON of `planstore.agents.fitting.MAX_ANSWER` bytes at most.

        Raises:
            InvalidInput: the arguments don't fit; all faults are named.
            PlanStoreError: the store refuses it.
        """
        return fitted(await self.call(desk, desk.parsed(given, self.arguments)), hint=self.hint)


async def _create(desk: Desk, given: Create) -> briefs.Brief:
    plan = desk.made(
        PlanCreate,
        plan_type=given.plan_type,
        status=PlanStatus.ACTIVE if given.start else PlanStatus.DRAFT,
        metadata={"goal": given.goal, **given.metadata},
        tasks=given.tasks,
    )
    made = await desk.store.create_plan(plan, idempotency=_key("create", given))
    tasks = await desk.store.list_tasks(plan_id=made.id, limit=_SHOWN)
    return {"plan": briefs.plan(made), "tasks": [_named(each) for each in tasks]}


async def _get(desk: Desk, given: Get) -> briefs.Brief:
    item = await _either(desk.store, given.id)
    if given.field is not None:
        content = item.model_dump(mode="json")
        if given.field not in content:
            fault = Fault("/field", f"it is unknown; known are: {', '.join(content)}")
            raise InvalidInput(f"There is no field {given.field!r}.", faults=(fault,))
        return part_of(content[given.field], given.offset)
    if isinstance(item, Task):
        attempts = await desk.store.list_attempts(item.id) if item.attempt > 1 else []
        needed = await desk.store.list_dependencies(item.id)
        return {"task": briefs.whole_task(item, needed, attempts)}
    progress = await desk.store.get_progress(item.id)
    tasks = await desk.store.list_tasks(plan_id=item.id, limit=_SHOWN)
    told: briefs.Brief = {
        "plan": briefs.plan(item, progress),
        "tasks": [briefs.task(each) for each in tasks],
    }
    if tasks.next_cursor is not None:
        told["more"] = f"find(plan, cursor={tasks.next_cursor!r}) lists the next tasks."
    return told


async def _replan(desk: Desk, given: Replan) -> briefs.Brief:
    draft = RevisionDraft(
        expected_revision=given.expected_revision,
        operations=given.operations,
        reason=given.reason,
        dry_run=given.dry_run,
    )
    answer = await desk.store.revise_plan(given.plan, draft, idempotency=_key("replan", given))
    return briefs.revision(answer)


async def _claim(desk: Desk, given: Claim) -> briefs.Brief:
    request = ClaimRequest(
        worker_id=given.worker,
        plan_id=given.plan,
        task_types=given.task_types,
        limit=given.limit,
        lease_seconds=given.lease_seconds,
        wait_seconds=given.wait_seconds,
    )
    key = Idempotency(given.request_id, caller=_CALLER) if given.request_id else None
    packets = await desk.store.claim_tasks(request, idempotency=key)
    if packets:
        return {"tasks": [briefs.packet(each) for each in packets]}
    told: briefs.Brief = {"tasks": [], "why": "Nothing is ready."}
    if given.plan is not None:
        told["why"] = (await desk.store.explain_plan(given.plan)).sentence
    return told


async def _update(desk: Desk, given: Update) -> briefs.Brief:
    if given.worker is not None and given.fencing_token is not None:
        claim = HeartbeatClaim(
            task_id=given.id,
            fencing_token=given.fencing_token,
            progress=given.progress,
            note=given.note,
        )
        answer = await desk.store.heartbeat(Heartbeat(worker_id=given.worker, claims=[claim]))
        return {"claim": answer.claims[0].model_dump(mode="json")}
    if given.release:
        release = Release(fencing_token=given.fencing_token)
        return {"task": briefs.ended(await desk.store.release_task(given.id, release))}
    if given.paused is not None:
        move = desk.store.pause_plan if given.paused else desk.store.resume_plan
        return {"plan": briefs.plan(await move(given.id))}
    item = await _either(desk.store, given.id)
    if isinstance(item, Plan):
        change = desk.parsed(given.set or {}, PlanUpdate)
        return {"plan": briefs.plan(await desk.store.update_plan(item.id, change))}
    token = {} if given.fencing_token is None else {"fencing_token": given.fencing_token}
    change = desk.parsed({**(given.set or {}), **token}, TaskUpdate)
    return {"task": briefs.task(await desk.store.update_task(item.id, change))}


async def _complete(desk: Desk, given: Complete) -> briefs.Brief:
    if given.claim_next is None:
        done = desk.made(Completion, fencing_token=given.fencing_token, output_data=given.output)
        return briefs.ended(await desk.store.complete_task(given.task, done))
    plan_id = (await desk.store.get_task(given.task)).plan_id
    following = ClaimRequest(
        worker_id=given.claim_next, plan_id=plan_id, lease_seconds=DEFAULT_LEASE
    )
    done = desk.made(
        Completion,
        fencing_token=given.fencing_token,
        output_data=given.output,
        claim_next=following,
    )
    ended = await desk.store.complete_task(
        given.task, done, idempotency=_key_of_run("complete", given)
    )
    told = briefs.ended(ended)
    if not ended.tasks:
        told["why_nothing_next"] = (await desk.store.explain_plan(plan_id)).sentence
    return told


async def _fail(desk: Desk, given: Fail) -> briefs.Brief:
    failure = desk.made(
        Failure,
        fencing_token=given.fencing_token,
        error=given.error,
        retryable=given.retryable,
    )
    return briefs.ended(
        await desk.store.fail_task(given.task, failure, idempotency=_key("fail", given))
    )


async def _find(desk: Desk, given: Find) -> briefs.Brief:
    asked = given.model_dump(mode="json", exclude_none=True)
    for name in ("kind", "limit", "cursor"):
        asked.pop(name, None)
    if "plan" in asked:
        asked["plan_id"] = asked.pop("plan")
    if given.kind == "plans":
        plans = await desk.store.list_plans(
            desk.parsed(asked, PlanFilter), limit=given.limit, cursor=given.cursor
        )
        told: briefs.Brief = {"plans": [briefs.plan(each) for each in plans]}
        following = plans.next_cursor
    else:
        tasks = await desk.store.list_tasks(
            desk.parsed(asked, TaskFilter), limit=given.limit, cursor=given.cursor
        )
        told = {"tasks": [{**briefs.task(each), "plan": str(each.plan_id)} for each in tasks]}
        following = tasks.next_cursor
    if following is not None:
        told["next_cursor"] = following
    return told


async def _explain(desk: Desk, given: Explain) -> briefs.Brief:
    try:
        told = await desk.store.explain_task(given.id)
    except NotFound:
        told = await desk.store.explain_plan(given.id)
    return briefs.without_empty(told.model_dump(mode="json"))


async def _context(desk: Desk, given: Context) -> briefs.Brief:
    held = await desk.store.list_claims(given.worker)
    asked = [] if given.plan is None else [given.plan]
    plans = [*dict.fromkeys([*asked, *(each.plan_id for each in held)])]
    told: briefs.Brief = {
        "your_claims": [briefs.packet(each) for each in held],
        "plans": [await _standing(desk.store, each) for each in plans[:_PLANS]],
    }
    if not plans:
        running = await desk.store.list_plans(PlanFilter(status=[PlanStatus.ACTIVE]), limit=_PLANS)
        told["plans"] = [await _standing(desk.store, each.id) for each in running]
    return told


async def _standing(store: Store, plan_id: UUID) -> briefs.Brief:
    """Tell how a plan stands, and what is next in it."""
    plan = await store.get_plan(plan_id)
    told = briefs.plan(plan, await store.get_progress(plan_id))
    told["why"] = (await store.explain_plan(plan_id)).sentence
    ready = await store.list_tasks(TaskFilter(ready=True), plan_id=plan_id, limit=_NEXT)
    told["ready_next"] = [_named(each) for each in ready]
    failed = await store.list_tasks(
        TaskFilter(status=[TaskStatus.FAILED]), plan_id=plan_id, limit=_NEXT
    )
    if failed:
        told["failed"] = [briefs.task(each) for each in failed]
    return told


async def _either(store: Store, of: UUID) -> Plan | Task:
    try:
        return await store.get_task(of)
    except NotFound:
        try:
            return await store.get_plan(of)
        except NotFound:
            raise NotFound(f"There is no plan or task {of}.") from None


def _named(task: Task) -> briefs.Brief:
    return {"id": str(task.id), "name": task.name, "status": task.status.value}


_CALLER: Final = "agent"


def _key_of_run(verb: str, given: Complete | Fail) -> Idempotency | None:
    """Return a key for the end of one run; without a token it can't be told from the next one."""
    return None if given.fencing_token is None else _key(verb, given)


def _key(verb: str, given: Create | Replan | Complete | Fail) -> Idempotency:
    """Return a key for exactly these arguments."""
    content = hashlib.sha256(given.model_dump_json().encode()).hexdigest()
    return Idempotency(f"{verb}-{content}", caller=_CALLER)


TOOLS: Final[dict[str, Tool[Any]]] = {
    tool.name: tool
    for tool in (
        Tool(
            "create",
            "Make a plan with its tasks and start it. Repeating the call answers the same plan.",
            Create,
            _create,
            hint="get(id) shows a plan or a task.",
        ),
        Tool(
            "get",
            "Show a plan with its tasks, or a task with input, output and errors.",
            Get,
            _get,
            is_reading=True,
            hint="get(id, field, offset) shows one field whole; find(plan, …) fewer tasks.",
        ),
        Tool(
            "replan",
            "Change a plan's tasks while it runs: all operations or none. What is finished stays. "
            "dry_run says what would come of it. On version_mismatch get the plan anew, and think "
            "again.",
            Replan,
            _replan,
            takes_back=True,
        ),
        Tool(
            "claim",
            "Take ready tasks to work on. Keep id and fencing_token of each: complete, fail and "
            "update need them. Before the lease ends, renew it with update.",
            Claim,
            _claim,
            is_repeatable=False,
        ),
        Tool(
            "update",
            "Renew a claim and say how far you are (worker, fencing_token, progress, note); or "
            "release it; or set fields of a task or plan; or pause a plan.",
            Update,
            _update,
            takes_back=True,
        ),
        Tool(
            "complete",
            "End a task with success. claim_next hands you the plan's next one at once.",
            Complete,
            _complete,
        ),
        Tool(
            "fail",
            "End a task's run without success: it is tried again, or has failed.",
            Fail,
            _fail,
        ),
        Tool(
            "find",
            "List tasks or plans by status, words, name, type, worker.",
            Find,
            _find,
            is_reading=True,
            hint="A smaller limit shows more of each; next_cursor as cursor lists the next ones.",
        ),
        Tool(
            "explain",
            "Say why a task or plan isn't going on, and what would unblock it.",
            Explain,
            _explain,
            is_reading=True,
        ),
        Tool(
            "context",
            "Start here, and whenever you have lost your memory: what you hold, how the plans "
            "stand, what is next.",
            Context,
            _context,
            is_reading=True,
            hint="get(id) shows one of these whole.",
        ),
    )
}
"""By name, in the order in which they are listed."""
