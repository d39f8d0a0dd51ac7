"""Finding plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from planstore.models.plan import Plan
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
from planstore.sql.fragments import columns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from planstore.models.page import PlaceInTime
    from planstore.models.query import PlanFilter
    from planstore.sql.connection import Connection, Row

_CREATED_AT: Final = "p.created_at"
_ID: Final = "p.id"

NEWEST: Final = Order(
    (
        Key("created_at", _CREATED_AT, "timestamptz", "desc"),
        Key("id", _ID, "uuid", "desc"),
    ),
    AFTER_LATEST,
)
"""The newest first."""

SORTS: Final = {
    f"{sign}{name}": Order(
        (Key("value", f"p.{name}", "timestamptz", direction), Key("id", _ID, "uuid", direction)),
        (LATEST, AFTER_LATEST[1]) if direction else (EARLIEST, NOBODY),
    )
    for name in ("created_at", "updated_at")
    for sign, direction in (("", ""), ("-", "desc"))
}
"""The others, by what is asked for."""

_CONDITIONS: Final = {
    "goal_id": Condition("p.goal_id = any (:value)", "uuid[]"),
    "agent_id": Condition("p.agent_id = any (:value)", "uuid[]"),
    "status": Condition("p.status = any (:value)", "text[]"),
    "plan_type": Condition("p.plan_type = any (:value)", "text[]"),
    "template": Condition("p.template = any (:value)", "text[]"),
    "created_after": Condition("p.created_at >= :value", "timestamptz"),
    "created_before": Condition("p.created_at < :value", "timestamptz"),
    "label": Condition("p.labels @> :value", "text[]"),
    "metadata": Condition("p.metadata::jsonb @> all (:value)", "jsonb[]"),
    "words": Condition(
        # By `exists`, PostgreSQL might take all plans that have the words first.
        f"""coalesce((
      select w.words @@ {words.asked(":value")}
      from planstore.plan_words w
      where w.plan_id = p.id
    ), false)""",
        "text",
    ),
}


def _all(search: Search, parameters: Parameters, pick: Pick) -> Sequence[str]:
    since = parameters.put(search.since, "timestamptz")
    until = ", ".join(parameters.row(search.until, ("timestamptz", "uuid")))
    return [
        f"""
    select p.created_at, p.id{pick.selected}
    from planstore.plans p
    where (p.created_at, p.id) >= ({since}, '{NOBODY}')
      and (p.created_at, p.id) < ({until}){pick.where}
    order by p.created_at desc, p.id desc
    limit {pick.limit}"""
    ]


def _with(column: str, kind: str) -> Callable[[Search, Parameters, Pick], Sequence[str]]:
    """Those that have one of the values in a column, newest first for each."""

    def way(search: Search, parameters: Parameters, pick: Pick) -> Sequence[str]:
        values = parameters.put(search.asked[column], f"{kind}[]")
        since = parameters.put(search.since, "timestamptz")
        until = ", ".join(parameters.row(search.until, ("timestamptz", "uuid")))
        return [
            f"""
    select b.*
    from (select distinct v.value from unnest({values}) v (value)) v
    cross join lateral (
      select p.created_at, p.id{pick.selected}
      from planstore.plans p
      where p.{column} is not null
        and (p.{column}, p.created_at, p.id) >= (v.value, {since}, '{NOBODY}')
        and (p.{column}, p.created_at, p.id) < (v.value, {until}){pick.where}
      order by p.{column} desc, p.created_at desc, p.id desc
      limit {pick.limit}
    ) b"""
        ]

    return way


_WAYS: Final = {
    name: Way(_with(name, kind), TIMES | {name})
    for name, kind in (
        ("goal_id", "uuid"),
        ("template", "text"),
        ("agent_id", "uuid"),
        ("status", "text"),
        ("plan_type", "text"),
    )
}
"""The first of these that is asked for is gone."""


def _way(search: Search) -> Way:
    given = (way for name, way in _WAYS.items() if name in search.asked)
    return next(given, Way(_all, TIMES))


def _listed(mark: int) -> Way:
    """Those that have a mark."""

    def way(search: Search, parameters: Parameters, pick: Pick) -> Sequence[str]:
        return [
            _marked(
                mark,
                search,
                parameters,
                pick,
                beside="""
    cross join lateral (
      select p.labels, p.metadata
      from planstore.plans p
      where p.id = m.plan_id
      offset 0
    ) p""",
            )
        ]

    return Way(way, TIMES)


def _unseen(mark: int) -> Way:
    """Those that have a mark, whatever they are by now."""

    def way(search: Search, parameters: Parameters, pick: Pick) -> Sequence[str]:
        return [_marked(mark, search, parameters, pick)]

    return Way(way, TIMES | MARKED, unseen=MARKED)


def _marked(
    mark: int, search: Search, parameters: Parameters, pick: Pick, *, beside: str = ""
) -> str:
    number = parameters.put(mark, "bigint")
    since = parameters.put(search.since, "timestamptz")
    until = ", ".join(parameters.row(search.until, ("timestamptz", "uuid")))
    return f"""
    select m.created_at, m.plan_id as id{pick.selected}
    from planstore.plan_marks m{beside}
    where (m.mark, m.created_at, m.plan_id) >= ({number}, {since}, '{NOBODY}')
      and (m.mark, m.created_at, m.plan_id) < ({number}, {until}){pick.where}
    order by m.mark desc, m.created_at desc, m.plan_id desc
    limit {pick.limit}"""


async def _lead(conn: Connection, search: Search) -> Lead | None:
    if "words" in search.asked:
        return None
    mark = await marks.rarest_of_plans(conn, search.asked)
    if mark is None:
        return None
    way = _listed(mark.number)
    if mark.others:
        return Lead(way, LISTED, length=mark.length)
    return Lead(way, LISTED, length=mark.length, unseen=_unseen(mark.number), is_sure=True)


def _dug(search: Search, parameters: Parameters) -> Dug:
    asked = search.asked
    if asked.keys().isdisjoint(SOUGHT):
        conditions = conditions_of(_CONDITIONS, search, parameters)
        return Dug(f"""
    select {search.order.selected}
    from planstore.plans p
    where {" and ".join(conditions) or "true"}""")
    if "words" in asked:
        return Dug(_by_words(search, parameters))
    hints, handled = hints_of(search, parameters, "p")
    conditions = filtering(conditions_of(_CONDITIONS, search, parameters, but=handled))
    return Dug(
        f"""
    select {search.order.selected}, p.ctid as row_at
    from planstore.plans p
    where {" and ".join((*hints, conditions))}
    -- Or else it might go along the order after all.
    offset 0""",
        Stretch.at_rows("p"),
    )


def _by_words(search: Search, parameters: Parameters) -> str:
    """The plans that have all the words, newest first, so that few have to be looked at."""
    query = words.asked(parameters.put(search.asked["words"], "text"))
    handled = TIMES | {"words"}
    conditions = filtering(conditions_of(_CONDITIONS, search, parameters, but=handled))
    since = parameters.put(search.since, "timestamptz")
    is_newest = search.order is NEWEST
    place = search.until if is_newest else (search.asked.get("created_before", LATEST), NOBODY)
    until = ", ".join(parameters.row(place, ("timestamptz", "uuid")))
    cut = f"limit {parameters.put(search.wanted, 'bigint')}" if is_newest else ""
    return f"""
    select p.*
    from (
      select w.plan_id, w.created_at
      from planstore.plan_words w
      where w.words @@ {query}
        and (w.created_at >= {since}) is true
        and ((w.created_at, w.plan_id) < ({until})) is true
      order by w.created_at desc, w.plan_id desc
    ) w
    cross join lateral (
      select {search.order.selected}
      from planstore.plans p
      where p.id = w.plan_id
        and {conditions}
      offset 0
    ) p
    order by w.created_at desc, w.plan_id desc
    {cut}"""


def _whole(stretch: Stretch | None, _server: int) -> Whole:
    fields = columns(Plan.model_fields, of="p")
    plans = stretch.condition if stretch else at_once(f"{_ID} = any (page.ids)", _ID)
    return Whole(
        f"""plan as materialized (
    select p.*
    from page
    cross join lateral (
      select {fields}
      from planstore.plans p
      where {plans}
      offset 0
    ) p
  )""",
        fields,
        "join plan p on p.id = f.id",
    )


_PLANS: Final = Noun(
    _CONDITIONS,
    _way,
    _lead,
    _dug,
    _whole,
    plan_id="f.id as plan_id",
)


async def plans(
    conn: Connection,
    asked: dict[str, Any],
    *,
    order: Order,
    after: tuple[Any, ...] | None,
    limit: int,
    offset: int,
) -> list[Row]:
    """Return the plans that filters find, whole, in an order, from after a place.

    With each come the keys of the order but the id, with ``place_`` before their names.
    """
    search = Search(asked, order, after or order.first, limit, offset)
    return await find(conn, _PLANS, search, is_sorted=order is not NEWEST)


async def plan_ids(
    conn: Connection, found: PlanFilter, *, after: PlaceInTime | None, limit: int
) -> list[Row]:
    """Return ``id``, ``plan_id`` and ``created_at`` of plans, newest first, from after a place."""
    search = Search(asked_of(found), NEWEST, after or NEWEST.first, limit)
    return await find(conn, _PLANS, search, ids=True)
