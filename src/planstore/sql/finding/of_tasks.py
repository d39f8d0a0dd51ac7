"""Finding tasks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from planstore.models.task import TaskStatus
from planstore.sql import marks, words
from planstore.sql.finding.composing import (
    AFTER_LATEST,
    EARLIEST,
    LATEST,
    LISTED,
    MARKED,
    NOBODY,
    SOUGHT,
    TIMES,
    Condition,
    Dug,
    Key,
    Lead,
    Noun,
    Order,
    Parameters,
    Pick,
    Search,
    Stretch,
    Way,
    Whole,
    asked_of,
    at_once,
    conditions_of,
    filtering,
    find,
    hints_of,
)
from planstore.sql.fragments import IS_UNAPPROVED, TASK_RUNNING, columns
from planstore.sql.tasks.columns import OF_STATE, OF_TASK, TASK, TASKS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from planstore.models.page import PlaceInTime
    from planstore.models.query import TaskFilter
    from planstore.sql.connection import Connection, Row

# The other row of each task that comes along. Joined, it might be all of them that are read first.
_WITH_STATE: Final = """planstore.tasks t
      cross join lateral (
        select
          s.status, s.status_reason, s.worker_id, s.ready_at, s.priority, s.updated_at,
          s.started_at, s.completed_at
        from planstore.task_states s
        where s.plan_id = t.plan_id
          and s.task_id = t.id
        offset 0
      ) s"""
_WITH_TASK: Final = """planstore.task_states s
      cross join lateral (
        select
          t.plan_id, t.agent_id, t.task_type, t.name, t.description, t.labels, t.metadata,
          t.created_at
        from planstore.tasks t
        where t.plan_id = s.plan_id
          and t.id = s.task_id
        offset 0
      ) t"""

NEWEST: Final = Order(
    (
        Key("created_at", "t.created_at", "timestamptz", "desc"),
        Key("id", "t.id", "uuid", "desc"),
    ),
    AFTER_LATEST,
)
"""The newest first."""

IN_PLAN: Final = Order(
    (
        Key("sequence_order", "t.sequence_order", "integer"),
        Key("created_at", "t.created_at", "timestamptz"),
        Key("id", "t.id", "uuid"),
    ),
    (-1, EARLIEST, NOBODY),
)
"""The order that the tasks of one plan have."""

READY: Final = Order(
    (
        Key("priority", "s.priority", "smallint", "desc"),
        Key("ready_at", "s.ready_at", "timestamptz"),
        Key("id", "t.id", "uuid"),
    ),
    (2**15 - 1, EARLIEST, NOBODY),
)
"""The order in which ready tasks are handed out."""


def _by(column: str, kind: str, direction: str, *, first: object, instead: str | None) -> Order:
    """By a column; what has none comes last."""
    value = column if instead is None else f"coalesce({column}, '{instead}')"
    last_id = NOBODY if direction == "" else AFTER_LATEST[1]
    keys = (Key("value", value, kind, direction), Key("id", "t.id", "uuid", direction))
    return Order(keys, (first, last_id))


SORTS: Final = {
    **{
        name: _by(column, "timestamptz", "", first=EARLIEST, instead=instead)
        for name, column, instead in (
            ("created_at", "t.created_at", None),
            ("updated_at", "s.updated_at", None),
            ("started_at", "s.started_at", f"{LATEST}"),
            ("completed_at", "s.completed_at", f"{LATEST}"),
        )
    },
    **{
        f"-{name}": _by(column, "timestamptz", "desc", first=LATEST, instead=instead)
        for name, column, instead in (
            ("created_at", "t.created_at", None),
            ("updated_at", "s.updated_at", None),
            ("started_at", "s.started_at", f"{EARLIEST}"),
            ("completed_at", "s.completed_at", f"{EARLIEST}"),
        )
    },
    **{
        f"{sign}{name}": _by(column, "integer", direction, first=first, instead=None)
        for name, column in (
            ("sequence_order", "t.sequence_order"),
            ("priority", "s.priority::integer"),
        )
        for sign, direction, first in (("", "", -(2**31)), ("-", "desc", 2**31 - 1))
    },
}
"""The others, by what is asked for."""

_AWAITING: Final = f"starts_with(s.status_reason, {IS_UNAPPROVED})"
"""What the index of tasks that await an approval is for, in its words."""

_OF_TASK: Final = {
    "plan_id": Condition("t.plan_id = any (:value)", "uuid[]"),
    "agent_id": Condition("t.agent_id = any (:value)", "uuid[]"),
    "task_type": Condition("t.task_type = any (:value)", "text[]"),
    "name": Condition("t.name = any (:value)", "text[]"),
    "created_after": Condition("t.created_at >= :value", "timestamptz"),
    "created_before": Condition("t.created_at < :value", "timestamptz"),
}
_OF_STATE: Final = {
    "status": Condition("s.status = any (:value)", "text[]"),
    "ready": Condition("s.ready_at <= now()"),
    "worker": Condition(f"s.status = {TASK_RUNNING} and s.worker_id = any (:value)", "text[]"),
    "awaits_approval": Condition(_AWAITING),
}
_SLOW: Final = {
    "label": Condition("t.labels @> :value", "text[]"),
    "metadata": Condition("t.metadata::jsonb @> all (:value)", "jsonb[]"),
    "words": Condition(words.in_text(words.text_of_task("t"), ":value"), "text"),
}
_CONDITIONS: Final = {**_OF_TASK, **_OF_STATE, **_SLOW}


def _source(search: Search) -> str:
    """The tables that a search of tasks looks at."""
    is_of_state = not search.asked.keys().isdisjoint(_OF_STATE) or any(
        key.expression.startswith(("s.", "coalesce(s.")) for key in search.order.keys
    )
    return _WITH_STATE if is_of_state else "planstore.tasks t"


def _times(search: Search, parameters: Parameters) -> tuple[str, str]:
    since = parameters.put(search.since, "timestamptz")
    return since, ", ".join(parameters.row(search.until, ("timestamptz", "uuid")))


def _all(search: Search, parameters: Parameters, pick: Pick) -> Sequence[str]:
    since, until = _times(search, parameters)
    return [
        f"""
    select t.created_at, t.id{pick.selected}
    from {_source(search)}
    where (t.created_at, t.id) >= ({since}, '{NOBODY}')
      and (t.created_at, t.id) < ({until}){pick.where}
    order by t.created_at desc, t.id desc
    limit {pick.limit}"""
    ]


def _with(column: str, kind: str) -> Callable[[Search, Parameters, Pick], Sequence[str]]:
    """Those that have one of the values in a column, newest first for each."""

    def way(search: Search, parameters: Parameters, pick: Pick) -> Sequence[str]:
        values = parameters.put(search.asked[column], f"{kind}[]")
        since, until = _times(search, parameters)
        return [
            f"""
    select b.*
    from (select distinct v.value from unnest({values}) v (value)) v
    cross join lateral (
      select t.created_at, t.id{pick.selected}
      from {_source(search)}
      where t.{column} is not null
        and (t.{column}, t.created_at, t.id) >= (v.value, {since}, '{NOBODY}')
        and (t.{column}, t.created_at, t.id) < (v.value, {until}){pick.where}
      order by t.{column} desc, t.created_at desc, t.id desc
      limit {pick.limit}
    ) b"""
        ]

    return way


def _in_plan(search: Search, parameters: Parameters, pick: Pick) -> Sequence[str]:
    plan_id = parameters.put(search.asked["plan_id"][0], "uuid")
    place = ", ".join(parameters.row(search.place, search.order.kinds))
    return [
        f"""
    select t.sequence_order, t.created_at, t.id
    from {_source(search)}
    where t.plan_id = {plan_id}
      and (t.sequence_order, t.created_at, t.id) > ({place}){pick.where}
    order by t.sequence_order, t.created_at, t.id
    limit {pick.limit}"""
    ]


def _of_plans(search: Search, parameters: Parameters, pick: Pick) -> Sequence[str]:
    """All tasks of some plans: no index has these newest first."""
    plan_ids = parameters.put(search.asked["plan_id"], "uuid[]")
    since, until = _times(search, parameters)
    return [
        f"""
    select b.*
    from (select distinct v.value from unnest({plan_ids}) v (value)) v
    cross join lateral (
      select t.created_at, t.id
      from {_source(search)}
      where t.plan_id = v.value{pick.where}
      offset 0
    ) b
    where b.created_at >= {since}
      and (b.created_at, b.id) < ({until})
    order by b.created_at desc, b.id desc
    limit {pick.limit}"""
    ]


def _standing(
    search: Search, parameters: Parameters, pick: Pick, *, asks: str, each: str = ""
) -> str:
    """Those that stand somewhere, newest first, by the index that is for them."""
    since, until = _times(search, parameters)
    # Where a task stands knows all that its place in the list needs.
    is_narrow = search.asked.keys() <= _OF_STATE.keys() | TIMES
    source = "planstore.task_states s" if is_narrow else _WITH_TASK
    return f"""
    select b.*
    from {each or "(select) v"}
    cross join lateral (
      select s.created_at, s.task_id as id{pick.selected}
      from {source}
      where {asks}
        and (s.created_at, s.task_id) >= ({since}, '{NOBODY}')
        and (s.created_at, s.task_id) < ({until}){pick.where}
      order by s.created_at desc, s.task_id desc
      limit {pick.limit}
    ) b"""


def _where(status: TaskStatus) -> str:
    """What the index of a status is for, in its words."""
    return f"starts_with(s.status, '{status.value}')"


def _of_statuses(search: Search, parameters: Parameters, pick: Pick) -> Sequence[str]:
    return [
        _standing(search, parameters, pick, asks=_where(status))
        for status in sorted({*search.asked["status"]})
    ]


def _of_workers(search: Search, parameters: Parameters, pick: Pick) -> Sequence[str]:
    workers = parameters.put(search.asked["worker"], "text[]")
    return [
        _standing(
            search,
            parameters,
            pick,
            asks=f"{_where(TaskStatus.RUNNING)} and s.worker_id = v.value",
            each=f"(select distinct v.value from unnest({workers}) v (value)) v",
        )
    ]


def _awaiting(search: Search, parameters: Parameters, pick: Pick) -> Sequence[str]:
    return [_standing(search, parameters, pick, asks=_AWAITING)]


def _ready(column: str, kind: str) -> Callable[[Search, Parameters, Pick], Sequence[str]]:
    """What is ready, in the order in which it is handed out: of one of the values in a column."""

    def way(search: Search, parameters: Parameters, pick: Pick) -> Sequence[str]:
        values = f"unnest({parameters.put(search.asked[column], f'{kind}[]')})" if column else ""
        each = f"(select distinct v.value from {values} v (value)) v" if column else "(select) v"
        of = f"and s.{column} = v.value" if column else ""
        priority, ready_at, task_id = parameters.row(search.place, search.order.kinds)
        is_narrow = search.asked.keys() <= _OF_STATE.keys() | {column}
        source = "planstore.task_states s" if is_narrow else _WITH_TASK
        later = (
            f"s.priority = {priority} and (s.ready_at, s.task_id) > ({ready_at}, {task_id})",
            f"s.priority < {priority}",
        )
        return [
            f"""
    select b.*
    from {each}
    cross join lateral (
      select s.priority, s.ready_at, s.task_id as id{pick.selected}
      from {source}
      where s.ready_at <= now()
        and {after} {of}{pick.where}
      order by s.priority desc, s.ready_at, s.task_id
      limit {pick.limit}
    ) b"""
            for after in later
        ]

    return way


_KEY_OF_TASK: Final = ("t.id",)
_KEY_OF_STATE: Final = ("s.plan_id", "s.task_id")


def _alike(column: str, kind: str) -> Way:
    """Those that have one of the values in a column."""

    def stretch(search: Search, parameters: Parameters) -> Stretch:
        values = parameters.put(search.asked[column], f"{kind}[]")
        condition = f"t.{column} = any ({values})"
        return Stretch.along("t", condition, "t.created_at, t.id", _KEY_OF_TASK)

    return Way(_with(column, kind), TIMES | {column}, stretch=stretch)


def _run(search: Search, parameters: Parameters) -> Stretch:
    """What some workers run."""
    workers = parameters.put(search.asked["worker"], "text[]")
    condition = f"{_where(TaskStatus.RUNNING)} and s.worker_id = any ({workers})"
    return Stretch.along("s", condition, "s.created_at, s.task_id", _KEY_OF_STATE)


_WAYS: Final = {
    "awaits_approval": Way(_awaiting, TIMES | {"awaits_approval"}),
    "name": _alike("name", "text"),
    "worker": Way(_of_workers, TIMES | {"worker"}, stretch=_run),
    "agent_id": _alike("agent_id", "uuid"),
    "task_type": _alike("task_type", "text"),
    "status": Way(_of_statuses, TIMES | {"status"}),
}
"""The first of these that is asked for is gone."""

_READY_WAYS: Final = {
    name: Way(_ready(name, kind), frozenset({"ready", name}))
    for name, kind in (("plan_id", "uuid"), ("agent_id", "uuid"), ("task_type", "text"))
}


def _way(search: Search) -> Way:
    if search.order is IN_PLAN:
        return Way(_in_plan, frozenset({"plan_id"}), is_short=True)
    if search.order is READY:
        ready = (way for name, way in _READY_WAYS.items() if name in search.asked)
        return next(ready, Way(_ready("", ""), frozenset({"ready"})))
    if "plan_id" in search.asked:
        return Way(_of_plans, TIMES | {"plan_id"}, is_short=True)
    given = (way for name, way in _WAYS.items() if name in search.asked)
    return next(given, Way(_all, TIMES))


_OF_ID: Final = """select t.plan_id, t.id, t.name, t.description, t.labels, t.metadata, t.created_at
      from planstore.tasks t
      where t.id = g.id
      offset 0"""
"""What is looked at of the task of an id ``g``; never by way of other tasks."""


def _due(since: str, until: str, pick: Pick, *, fitting: str, listed: str) -> str:
    """Those that fit of the tasks that are due; ``listed``: whether one is found without that."""
    fits = ", true as fits" if pick.is_trial else ""
    return f"""
    select distinct on (t.created_at, t.id) t.created_at, t.id{fits}
    from planstore.task_words_due d
    cross join unnest(d.task_ids) g (id)
    cross join lateral (
      {_OF_ID}
    ) t
    where t.created_at >= {since}
      and (t.created_at, t.id) < ({until})
      and {fitting}
      -- By `exists`, PostgreSQL might take all that is listed first.
      and not true = any (array({listed}
      ))
    order by t.created_at desc, t.id desc
    limit {pick.limit}"""


def _listed(mark: int) -> Way:
    """Those that have a mark, and of those that have yet to be marked what fits."""

    def way(search: Search, parameters: Parameters, pick: Pick) -> Sequence[str]:
        number = parameters.put(mark, "bigint")
        return _marked(
            number,
            search,
            parameters,
            pick,
            beside="""
    cross join lateral (
      select t.labels, t.metadata
      from planstore.tasks t
      where t.id = m.task_id
      offset 0
    ) t""",
            listed=f"select m.mark = {number}",
        )

    return Way(way, TIMES)


def _unseen(mark: marks.Mark) -> Way:
    """Those that have a mark and the others, whatever they are by now; else what fits, too."""

    def way(search: Search, parameters: Parameters, pick: Pick) -> Sequence[str]:
        number = parameters.put(mark.number, "bigint")
        if not mark.others:
            listed = f"select m.mark = {number}"
            return _marked(number, search, parameters, pick, beside="", listed=listed)
        others = parameters.put(mark.others, "bigint[]")
        conditions = f"""not exists (
      select
      from unnest({others}) o (mark)
      where not true = any (array(
        select true
        from planstore.task_marks l
        where l.mark = o.mark
          and l.created_at = m.created_at
          and l.task_id = m.task_id
      ))
    )"""
        listed = f"""select
          count(*) filter (where m.mark = any ({number} || {others})) > cardinality({others})"""
        pick = replace(pick, conditions=conditions)
        return _marked(number, search, parameters, pick, beside="", listed=listed)

    return Way(way, TIMES | MARKED, unseen=MARKED)


def _marked(
    number: str, search: Search, parameters: Parameters, pick: Pick, *, beside: str, listed: str
) -> Sequence[str]:
    since, until = _times(search, parameters)
    fitting = filtering(conditions_of(_CONDITIONS, search, parameters, but=TIMES))
    return [
        f"""
    select m.created_at, m.task_id as id{pick.selected}
    from planstore.task_marks m{beside}
    where (m.mark, m.created_at, m.task_id) >= ({number}, {since}, '{NOBODY}')
      and (m.mark, m.created_at, m.task_id) < ({number}, {until}){pick.where}
    order by m.mark desc, m.created_at desc, m.task_id desc
    limit {pick.limit}""",
        _due(
            since,
            until,
            pick,
            fitting=fitting,
            listed=f"""
        {listed}
        from planstore.task_marks m
        where m.plan_id = t.plan_id
          and m.task_id = t.id""",
        ),
    ]


def _along_words(search: Search, parameters: Parameters, pick: Pick) -> Sequence[str]:
    """Those of parts that have all the words, and of those whose words are yet to be taken.

    A part that has them not, or of which no task has them all, is one row that doesn't fit.
    """
    query = words.asked(parameters.put(search.asked["words"], "text"))
    since, until = _times(search, parameters)
    last = parameters.put(search.until[0], "timestamptz")
    return [
        f"""
    select distinct on (w.created_at, f.id)
      w.created_at, f.id, t.id is not null as fits
    from (
      select w.plan_id, w.part, w.created_at, w.task_ids, w.words
      from planstore.task_words w
      where w.created_at between {since} and {last}
      order by w.created_at desc
    ) w
    left join lateral (
      select t.id
      -- As a condition of the join, it would be asked when all tasks of the part have been read.
      from unnest(case when w.words @@ {query} then w.task_ids end) g (id)
      cross join lateral (
        {_OF_ID}
      ) t
      where (t.created_at, t.id) < ({until})
        and {pick.conditions}
      offset 0
    ) t on true
    cross join lateral (select coalesce(t.id, w.plan_id) as id) f
    order by w.created_at desc, f.id desc
    limit {pick.limit}""",
        _due(
            since,
            until,
            pick,
            fitting=pick.conditions,
            listed=f"""
        select w.words @@ {query}
        from planstore.task_words w
        where w.plan_id = t.plan_id
          and w.created_at = t.created_at
          and t.id = any (w.task_ids)""",
        ),
    ]


_PARTS_TRIED: Final = 5
_MORE_PARTS_TRIED: Final = 200
"""How many parts are tried, for each task that is wanted by its words."""


async def _lead(conn: Connection, search: Search) -> Lead | None:
    if not await marks.are_few_due(conn):
        return None
    if "words" in search.asked:
        return Lead(Way(_along_words, TIMES), _PARTS_TRIED, _MORE_PARTS_TRIED)
    mark = await marks.rarest_of_tasks(conn, search.asked)
    if mark is None:
        return None
    way, unseen = _listed(mark.number), _unseen(mark)
    return Lead(way, LISTED, length=mark.length, unseen=unseen, is_sure=not mark.others)


def _dug(search: Search, parameters: Parameters) -> Dug:
    asked = search.asked
    if asked.keys().isdisjoint(SOUGHT):
        conditions = conditions_of(_CONDITIONS, search, parameters)
        if len(statuses := {*asked.get("status", ())}) == 1:
            conditions += map(_where, statuses)
        return Dug(f"""
    select {search.order.selected}
    from {TASKS}
    where {" and ".join(conditions) or "true"}""")
    if "words" in asked:
        return Dug(_by_words(search, parameters))
    hints, handled = hints_of(search, parameters, "t")
    conditions = filtering(conditions_of(_CONDITIONS, search, parameters, but=handled))
    return Dug(
        f"""
    select {search.order.selected}, t.ctid as row_at
    from {_source(search)}
    where {" and ".join((*hints, conditions))}
    -- Or else it might go along the order after all.
    offset 0""",
        Stretch.at_rows("t"),
    )


def _by_words(search: Search, parameters: Parameters) -> str:
    """The tasks of the parts that have all the words, and those whose words are yet to be taken.

    Parts come newest first, and no more of them are looked at than it takes.
    """
    query = words.asked(parameters.put(search.asked["words"], "text"))
    conditions = filtering(conditions_of(_CONDITIONS, search, parameters))
    keys = search.order.selected
    names = ", ".join(f"t.{key.name}" for key in search.order.keys)
    source = _source(search)
    if search.order is NEWEST:
        since, until = _times(search, parameters)
        last = parameters.put(search.until[0], "timestamptz")
        bounds = f"and (w.created_at between {since} and {last}) is true"
        after = f"and (t.created_at, t.id) < ({until})"
        cut = f"limit {parameters.put(search.wanted, 'bigint')}"
    else:
        bounds = after = cut = ""
    return f"""
    select t.*
    from (
      (
        select distinct on (w.created_at, t.id) {names}
        from (
          select w.plan_id, w.part, w.created_at
          from (
            select w.plan_id, w.part, w.created_at
            from planstore.task_words w
            where w.words @@ {query} {bounds}
            -- Or else it might go along the order after all.
            offset 0
          ) w
          order by w.created_at desc
        ) w
        cross join lateral (
          select {names}
          from (
            select g.id
            from planstore.task_words p
            cross join unnest(p.task_ids) g (id)
            where p.plan_id = w.plan_id
              and p.part = w.part
            offset 0
          ) p
          -- Joined, it might be all tasks of the plan whose words are taken, for each part anew.
          cross join lateral (
            select {keys}
            from {source}
            where t.plan_id = w.plan_id
              and t.id = p.id
              and t.created_at = w.created_at
              and {conditions} {after}
            offset 0
          ) t
        ) t
        order by w.created_at desc, t.id desc
        {cut}
      )
      union
      (
        select distinct on (t.created_at, t.id) {keys}
        from planstore.task_words_due d
        cross join unnest(d.task_ids) g (id)
        cross join {source}
        where t.id = g.id
          and {conditions} {after}
        order by t.created_at desc, t.id desc
        {cut}
      )
    ) t"""


_PAIRS_SINCE: Final = 17
"""The first PostgreSQL that seeks pairs of two lists by an index without trying all with all."""


def _whole(stretch: Stretch | None, server: int) -> Whole:
    """The two rows of each task.

    What the index of a filter leads to is read by it, the other by its key.
    """
    tasks = at_once("t.id = any (page.ids)", *_KEY_OF_TASK)
    if stretch is not None and stretch.of == "t":
        tasks = stretch.condition
    if stretch is not None and stretch.of == "s":
        pages, states = "page", stretch.condition
    elif server < _PAIRS_SINCE:
        pages, states = "task page", "s.plan_id = page.plan_id and s.task_id = page.id"
    else:
        pages = """(
      select array_agg(t.plan_id) as plan_ids, array_agg(t.id) as task_ids
      from task t
    ) page"""
        pairs = "s.plan_id = any (page.plan_ids) and s.task_id = any (page.task_ids)"
        states = at_once(pairs, *_KEY_OF_STATE)
    return Whole(
        f"""task as materialized (
    select t.*
    from page
    cross join lateral (
      select {columns(OF_TASK, of="t")}
      from planstore.tasks t
      where {tasks}
      offset 0
    ) t
  ),
  state as materialized (
    select s.*
    from {pages}
    cross join lateral (
      select s.task_id, {columns(OF_STATE, of="s")}
      from planstore.task_states s
      where {states}
      offset 0
    ) s
  )""",
        TASK,
        "join task t on t.id = f.id join state s on s.task_id = f.id",
    )


_NOUN: Final = Noun(
    _CONDITIONS,
    _way,
    _lead,
    _dug,
    _whole,
    plan_id="(select t.plan_id from planstore.tasks t where t.id = f.id) as plan_id",
)


async def tasks(
    conn: Connection,
    asked: dict[str, Any],
    *,
    order: Order,
    after: tuple[Any, ...] | None,
    limit: int,
    offset: int,
) -> list[Row]:
    """Return the tasks that filters find, whole, in an order, from after a place.

    With each come the keys of the order but the id, with ``place_`` before their names.
    """
    search = Search(asked, order, after or order.first, limit, offset)
    is_sorted = order not in (NEWEST, IN_PLAN, READY)
    return await find(conn, _NOUN, search, is_sorted=is_sorted)


async def task_ids(
    conn: Connection, found: TaskFilter, *, after: PlaceInTime | None, limit: int
) -> list[Row]:
    """Return ``id``, ``plan_id`` and ``created_at`` of tasks, newest first, from after a place."""
    search = Search(asked_of(found), NEWEST, after or NEWEST.first, limit)
    return await find(conn, _NOUN, search, ids=True)
