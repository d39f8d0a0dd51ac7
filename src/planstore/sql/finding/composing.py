"""How a statement that finds something is put together.

A page is read off the end of an index, in its order. Which index, the filters say: the first of the
noun's `Way` whose filter is given, else the one along all there are. The other filters are
conditions on what comes along. So a page costs as much whether a value fits one row or all of them.

So what a page has on it is found in an index alone, where that will do. Its rows lie all over the
tables, and are read at once when it is known which they are.

Labels, metadata and words have indexes too, but these know no order: they are quick where few fit,
and the way along an order is quick where many do. So some rows are tried along the way first, as
many more as it seems to take where that isn't too many, and else what fits is dug out of the index.
Where nothing else is asked for, there are better ways: lists of what has a label or a value in its
metadata (`planstore.sql.marks`), and the words of tasks, of some dozens together.

The pieces are constants of this program; what a client gives is only ever a parameter.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from planstore.models.query import PlanFilter, TaskFilter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from planstore.sql.connection import Connection, Row

_TRIED: Final = 8
"""How many rows are tried, for each one that is wanted."""
LISTED: Final = 2
"""The same along a list of what has one of several marks."""
_LONGER: Final = 400
"""How many are tried then …"""
_MARGIN: Final = 2
"""… where it should take no more than one in so many, nor more than fit at all."""

# A list always begins after a place, so that one plan of the statement, bounded by the index on
# both sides, serves every page. No row can have these times.
NOBODY: Final = UUID(int=0)
EARLIEST: Final = datetime(2, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9998, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
AFTER_LATEST: Final = (LATEST, UUID(int=2**128 - 1))


class Parameters:
    """What a statement is given, in the order in which its pieces ask for it."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def put(self, value: object, kind: str) -> str:
        """Take a value; answers how the statement names it."""
        self.values.append(value)
        return f"${len(self.values)}::{kind}"

    def row(self, values: Iterable[object], kinds: Iterable[str]) -> list[str]:
        """Take several values."""
        return [self.put(*each) for each in zip(values, kinds, strict=True)]


@dataclass(frozen=True, slots=True)
class Key:
    """What an order goes by."""

    name: str
    expression: str
    kind: str
    direction: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """An order of a list: its keys, the last of which is the id."""

    keys: tuple[Key, ...]
    first: tuple[Any, ...]
    """A place before all others."""

    @property
    def kinds(self) -> list[str]:
        """The types of a place."""
        return [key.kind for key in self.keys]

    @property
    def selected(self) -> str:
        """The keys, by their names."""
        return ", ".join(f"{key.expression} as {key.name}" for key in self.keys)

    @property
    def names(self) -> list[str]:
        """The names of the keys but the id."""
        return [key.name for key in self.keys[:-1]]

    def by(self, alias: str, *, prefix: str = "") -> str:
        """``f.created_at desc, f.id desc``, for rows that have the keys by their names."""
        names = [*(prefix + name for name in self.names), "id"]
        return ", ".join(
            f"{alias}.{name} {key.direction}".strip()
            for name, key in zip(names, self.keys, strict=True)
        )

    def after(self, alias: str, place: Sequence[str]) -> str:
        """Whether a row that has the keys by their names comes after a place."""
        names = [f"{alias}.{key.name}" for key in self.keys]
        if len({key.direction for key in self.keys}) == 1:
            sign = "<" if self.keys[0].direction else ">"
            return f"({', '.join(names)}) {sign} ({', '.join(place)})"
        text = "false"
        for name, key, value in reversed([*zip(names, self.keys, place, strict=True)]):
            sign = "<" if key.direction else ">"
            text = f"({name} {sign} {value} or {name} = {value} and {text})"
        return text

    def place_of(self, row: Row) -> tuple[Any, ...]:
        """The place of a row that was found whole."""
        return (*(row[f"place_{name}"] for name in self.names), row["id"])


@dataclass(frozen=True, slots=True)
class Condition:
    """What a filter asks of a row: in its text, ``:value`` is what it is given, of a type."""

    text: str
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for, in which order, and which part of it."""

    asked: Mapping[str, Any]
    """The filters that are given, with their values."""
    order: Order
    place: tuple[Any, ...]
    """After which to go on."""
    limit: int
    offset: int = 0

    @property
    def wanted(self) -> int:
        """How many rows have to be there."""
        return self.limit + self.offset

    @property
    def since(self) -> datetime:
        """The time from which on something was made."""
        return self.asked.get("created_after", EARLIEST)

    @property
    def until(self) -> tuple[datetime, UUID]:
        """The place in time before which something was made: there the newest begin."""
        before = self.asked.get("created_before")
        return min(self.place, (before, NOBODY)) if before else self.place


@dataclass(frozen=True, slots=True)
class Pick:
    """What is picked along a way."""

    conditions: str
    """What has to hold beside what leads along the way; ``true`` where nothing has to."""
    is_trial: bool
    """Whether rows that don't fit are picked too, and told apart by ``fits``."""
    limit: str
    """How many at most."""

    @property
    def selected(self) -> str:
        """The column that tells them apart, where there is one."""
        return f", ({self.conditions}) as fits" if self.is_trial else ""

    @property
    def where(self) -> str:
        """What has to hold of a row to be picked."""
        return "" if self.is_trial else f" and {self.conditions}"


@dataclass(frozen=True, slots=True)
class Way:
    """A way along an order, by an index."""

    of: Callable[[Search, Parameters, Pick], Sequence[str]]
    """Its branches: each answers the keys of the order, in that order."""
    handled: frozenset[str] = frozenset()
    """The filters that it takes care of."""
    unseen: frozenset[str] = frozenset()
    """Those of them that a row, once it is looked at, may turn out not to fit."""
    is_short: bool = False
    """Whether it can be gone to its end."""
    stretch: Callable[[Search, Parameters], Stretch] | None = None
    """What leads to the rows of a page along it, where nothing else is asked for."""


def at_once(condition: str, *columns: str) -> str:
    """A condition by which PostgreSQL reads many rows at once, and not one after the other.

    Along an index, it waits for each page of the table in turn. But where this *or* that is asked,
    it notes first where all of it lies, and then has the disk read ahead. Nothing has these ids.
    """
    nothing = " and ".join(f"{column} = '{NOBODY}'" for column in columns)
    return f"({condition}\n      or {nothing})"


@dataclass(frozen=True, slots=True)
class Stretch:
    """What leads to the rows of a ``page`` better than their keys."""

    of: str
    """The alias of the table."""
    condition: str
    page: str
    """What has to be known of the page, by what was ``found f``."""

    @classmethod
    def along(cls, of: str, condition: str, place: str, key: Sequence[str]) -> Stretch:
        """A part of an index where a condition holds, from one end of the page to the other.

        ``place``: the two columns by which the page is in order; ``key``: the table's.
        """
        between = f"""{condition}
        and ({place}) >= (page.last_at, page.last_id)
        and ({place}) <= (page.first_at, page.first_id)"""
        return cls(of, at_once(between, *key), _ENDS)

    @classmethod
    def at_rows(cls, of: str) -> Stretch:
        """Where the rows lie, which whoever found them says in the column ``row_at``."""
        return cls(of, f"{of}.ctid = any (page.rows_at)", "array_agg(f.row_at) as rows_at")


@dataclass(frozen=True, slots=True)
class Dug:
    """What fits, in no order."""

    text: str
    """It answers the keys of the order."""
    stretch: Stretch | None = None


@dataclass(frozen=True, slots=True)
class Lead:
    """A way along rows of which more fit than of all there are."""

    way: Way
    tried: int
    """How many rows of it are tried, for each one that is wanted …"""
    longer: int = _LONGER
    """… and how many then, where that seems to do."""
    length: float = inf
    """How many there are along it, if that is known."""
    unseen: Way | None = None
    """The same way without a look at the rows: what doesn't fit is yet to be listed otherwise."""
    is_sure: bool = False
    """Whether all that lies along that one is as good as found."""


@dataclass(frozen=True, slots=True)
class Whole:
    """How rows are read whole."""

    read: str
    """CTEs."""
    columns: str
    joined: str
    """How these are joined with what was ``found f``."""


@dataclass(frozen=True, slots=True)
class Noun:
    """What can be looked for."""

    conditions: Mapping[str, Condition]
    """By filter; those that are quick to see come first."""
    way: Callable[[Search], Way]
    """The way that a search goes."""
    lead: Callable[[Connection, Search], Awaitable[Lead | None]]
    """What leads to what is sought by labels, metadata or words alone, if anything does."""
    dug: Callable[[Search, Parameters], Dug]
    """What fits, by whatever index knows best."""
    whole: Callable[[Stretch | None, int], Whole]
    """The rows of a ``page``, given what leads to them, and the server's major version."""
    plan_id: str
    """The plan of what was ``found f``."""


def conditions_of(
    conditions: Mapping[str, Condition],
    search: Search,
    parameters: Parameters,
    *,
    but: AbstractSet[str] = frozenset(),
) -> list[str]:
    """What the filters ask of a row."""
    return [
        each.text.replace(
            ":value", parameters.put(search.asked[name], each.kind) if each.kind else ""
        )
        for name, each in conditions.items()
        if name in search.asked and name not in but
    ]


def filtering(conditions: Iterable[str]) -> str:
    """Conditions that rows are only looked at by: an index that fits one of them isn't taken.

    PostgreSQL doesn't know the values, and would rather combine the indexes of two filters, and
    sort what they have in common, than go along the better one.
    """
    return " and ".join(f"({condition}) is true" for condition in conditions) or "true"


SOUGHT: Final = frozenset({"label", "metadata", "words"})
"""Filters whose indexes know no order."""
MARKED: Final = frozenset({"label", "metadata"})
"""Those of them by which things are listed, too."""
TIMES: Final = frozenset({"created_after", "created_before"})


def asked_of(found: PlanFilter | TaskFilter) -> dict[str, Any]:
    """The filters that are given, with their values."""
    fields = PlanFilter.model_fields if isinstance(found, PlanFilter) else TaskFilter.model_fields
    asked = {name: getattr(found, name) for name in fields}
    # An empty object is part of any.
    asked["metadata"] = [part for part in asked["metadata"] or () if part] or None
    return {name: value for name, value in asked.items() if value is not None}


async def find(
    conn: Connection, noun: Noun, search: Search, *, is_sorted: bool = False, ids: bool = False
) -> list[Row]:
    """Find what a search asks for, in its order.

    Rows are whole, with ``place_`` before the name of each key but the id; or, where ``ids`` says
    so, they are ``plan_id`` and the keys. ``is_sorted``: by an order that no index has.
    """
    final = _ids(noun, search.order) if ids else _whole(conn, noun, search.order)
    if is_sorted:
        return await _dig(conn, noun, search, final)
    way = noun.way(search)
    if way.is_short or search.asked.keys().isdisjoint(SOUGHT):
        return await _go(conn, noun, way, search, final)
    is_led = search.asked.keys() <= SOUGHT | TIMES
    lead = (await noun.lead(conn, search) if is_led else None) or Lead(way, _TRIED)
    # Who skips rows, or wants no more than their ids, doesn't see whether they fit.
    way = lead.way if ids or search.offset or lead.unseen is None else lead.unseen
    if lead.is_sure:
        rows = await _go(conn, noun, way, search, final)
        return rows if _fit(rows, way) else await _go(conn, noun, lead.way, search, final)
    count = search.wanted * lead.tried
    trial = await _try(conn, noun, way, search, final, count=count)
    if not trial.is_enough and trial.fitting:
        most = search.wanted * lead.longer
        expected = count * search.wanted / trial.fitting * _MARGIN
        if expected <= min(most, lead.length * trial.fitting / count):
            trial = await _try(conn, noun, way, search, final, count=most)
    is_found = trial.is_enough and _fit(trial.rows, way)
    return trial.rows if is_found else await _dig(conn, noun, search, final)


def _fit(rows: Iterable[Row], way: Way) -> bool:
    return not way.unseen or all(row["fits"] for row in rows)


def hints_of(search: Search, parameters: Parameters, of: str) -> tuple[list[str], frozenset[str]]:
    """What leads to the indexes of labels and metadata; and the filters that this takes care of.

    ``of``: the alias of the row.
    """
    asked = search.asked
    hints: list[str] = []
    handled: set[str] = set()
    if "label" in asked:
        labels = parameters.put(asked["label"], "text[]")
        hints += [f"{of}.labels <> '{{}}'", f"{of}.labels @> {labels}"]
        handled.add("label")
    if "metadata" in asked:
        first, *others = asked["metadata"]
        part = parameters.put(first, "jsonb")
        hints += [f"{of}.metadata::text <> '{{}}'", f"{of}.metadata::jsonb @> {part}"]
        if not others:
            handled.add("metadata")
    return hints, frozenset(handled)


@dataclass(frozen=True, slots=True)
class _Final:
    """What is answered of the rows that were found."""

    text: Callable[[Stretch | None, str], str]
    """Given what leads to their rows, where that is known, and what they have yet to fit."""
    prefix: str
    """What stands before the names of the keys."""
    is_whole: bool
    """Whether the rows themselves are read."""


def _whole(conn: Connection, noun: Noun, order: Order) -> _Final:
    places = ", ".join(f"f.{name} as place_{name}" for name in order.names)
    server = conn.get_server_version().major

    def text(stretch: Stretch | None, fits: str) -> str:
        whole = noun.whole(stretch, server)
        return f"""
  with page as materialized (
    select {", ".join((_IDS, *([stretch.page] if stretch else [])))}
    from found f
  ),
  {whole.read}
  select {whole.columns}, {places}, {fits} as fits
  from found f
  {whole.joined}
"""

    return _Final(text, "place_", is_whole=True)


_IDS: Final = "array_agg(f.id) as ids"
_ENDS: Final = """max(f.created_at) as first_at,
      (array_agg(f.id order by f.created_at desc, f.id desc))[1] as first_id,
      min(f.created_at) as last_at,
      (array_agg(f.id order by f.created_at, f.id))[1] as last_id"""


def _yet_to_fit(noun: Noun, way: Way, search: Search, parameters: Parameters) -> str:
    """What is asked of a row when it is whole."""
    seen = noun.conditions.keys() - way.unseen
    return filtering(conditions_of(noun.conditions, search, parameters, but=seen))


def _ids(noun: Noun, order: Order) -> _Final:
    keys = ", ".join(f"f.{name}" for name in (*order.names, "id"))
    return _Final(
        lambda _stretch, _fits: f"select {noun.plan_id}, {keys} from found f", "", is_whole=False
    )


async def _go(conn: Connection, noun: Noun, way: Way, search: Search, final: _Final) -> list[Row]:
    """Go along a way until enough fit."""
    parameters = Parameters()
    cut = _Cut.of(search, parameters)
    conditions = filtering(conditions_of(noun.conditions, search, parameters, but=way.handled))
    branches = way.of(search, parameters, Pick(conditions, is_trial=False, limit=cut.wanted))
    is_all = final.is_whole and conditions == "true"
    stretch = way.stretch(search, parameters) if way.stretch and is_all else None
    text = final.text(stretch, _yet_to_fit(noun, way, search, parameters))
    by = search.order.by
    return await conn.fetch(
        f"""
with found as materialized (
  select f.*
  from ({_joined(branches)}) f
  order by {by("f")}
  {cut.text}
)
select x.*
from ({text}) x
order by {by("x", prefix=final.prefix)}
""",
        *parameters.values,
    )


@dataclass(frozen=True, slots=True)
class _Trial:
    """What came of trying some rows."""

    rows: list[Row]
    fitting: int
    """How many fitted, with those before the part that is wanted."""
    is_enough: bool
    """Whether all is found that was wanted or is there."""


async def _try(
    conn: Connection, noun: Noun, way: Way, search: Search, final: _Final, *, count: int
) -> _Trial:
    """Try up to so many rows along a way: no more than it takes, where an index has their order.

    The last of so many comes along whether it fits or not, to tell that there may be more.
    """
    parameters = Parameters()
    cut = _Cut.of(search, parameters)
    tried = parameters.put(count, "bigint")
    conditions = filtering(conditions_of(noun.conditions, search, parameters, but=way.handled))
    branches = way.of(search, parameters, Pick(conditions, is_trial=True, limit=tried))
    text = final.text(None, _yet_to_fit(noun, way, search, parameters))
    by = search.order.by
    rows = await conn.fetch(
        f"""
with tried as not materialized (
  select f.*, row_number() over (order by {by("f")}) as nth
  from ({_joined(branches)}) f
  order by {by("f")}
  limit {tried}
),
fitted as materialized (
  select f.*
  from tried f
  where f.fits
    or f.nth = {tried}
  order by {by("f")}
  limit {cut.wanted}
),
found as materialized (
  select f.*
  from fitted f
  where f.fits
  order by {by("f")}
  {cut.text}
)
select c.last, c.fitting, x.*
from (
  select coalesce(max(f.nth), 0) as last, count(*) filter (where f.fits) as fitting
  from fitted f
) c
left join ({text}) x on true
order by {by("x", prefix=final.prefix)}
""",
        *parameters.values,
    )
    found = [row for row in rows if row["id"] is not None]
    is_enough = len(found) == search.limit or rows[0]["last"] < count
    return _Trial(found, rows[0]["fitting"], is_enough)


async def _dig(conn: Connection, noun: Noun, search: Search, final: _Final) -> list[Row]:
    """Take all that fits, and of that what is wanted."""
    parameters = Parameters()
    cut = _Cut.of(search, parameters)
    dug = noun.dug(search, parameters)
    place = parameters.row(search.place, search.order.kinds)
    by = search.order.by
    return await conn.fetch(
        f"""
with found as materialized (
  select f.*
  from ({dug.text}) f
  where {search.order.after("f", place)}
  order by {by("f")}
  {cut.text}
)
select x.*
from ({final.text(dug.stretch, "true")}) x
order by {by("x", prefix=final.prefix)}
""",
        *parameters.values,
    )


@dataclass(frozen=True, slots=True)
class _Cut:
    """Which part of what is found is wanted."""

    text: str
    wanted: str
    """How many rows have to be there."""

    @classmethod
    def of(cls, search: Search, parameters: Parameters) -> _Cut:
        limit = parameters.put(search.limit, "bigint")
        offset = parameters.put(search.offset, "bigint")
        return cls(f"limit {limit} offset {offset}", f"{limit} + {offset}")


def _joined(branches: Sequence[str]) -> str:
    return "\n  union all\n  ".join(f"({branch})" for branch in branches)
