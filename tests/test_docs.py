"""The documentation says what the program does."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from typer.core import TyperGroup
from typer.main import get_group

from planstore.cli import app
from planstore.models.payload import PAYLOADS
from planstore.models.plan import PLAN_LIFECYCLE
from planstore.models.task import TASK_LIFECYCLE
from planstore.routers.bulk import BULK_ENDPOINTS
from planstore.routers.claims import CLAIM_ENDPOINTS
from planstore.routers.dependencies import DEPENDENCY_ENDPOINTS
from planstore.routers.evaluations import EVALUATION_ENDPOINTS
from planstore.routers.events import EVENT_ENDPOINTS
from planstore.routers.history import HISTORY_ENDPOINTS
from planstore.routers.insight import INSIGHT_ENDPOINTS
from planstore.routers.metrics import METRICS_ENDPOINTS
from planstore.routers.plans import PLAN_ENDPOINTS
from planstore.routers.porting import PORTING_ENDPOINTS
from planstore.routers.revisions import REVISION_ENDPOINTS
from planstore.routers.schemas import SCHEMA_ENDPOINTS
from planstore.routers.statistics import STATISTICS_ENDPOINTS
from planstore.routers.tasks import TASK_ENDPOINTS
from planstore.routers.templates import TEMPLATE_ENDPOINTS
from planstore.routers.webhooks import WEBHOOK_ENDPOINTS
from planstore.services.plan_store import PlanStore
from tools.write_docs import DOCS, PAGES

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT: Final = Path(__file__).parent.parent
SQL: Final = ROOT / "src/planstore/sql"

ENDPOINTS: Final = (
    *PLAN_ENDPOINTS,
    *TASK_ENDPOINTS,
    *CLAIM_ENDPOINTS,
    *BULK_ENDPOINTS,
    *DEPENDENCY_ENDPOINTS,
    *INSIGHT_ENDPOINTS,
    *HISTORY_ENDPOINTS,
    *REVISION_ENDPOINTS,
    *EVENT_ENDPOINTS,
    *EVALUATION_ENDPOINTS,
    *STATISTICS_ENDPOINTS,
    *METRICS_ENDPOINTS,
    *TEMPLATE_ENDPOINTS,
    *WEBHOOK_ENDPOINTS,
    *PORTING_ENDPOINTS,
    *SCHEMA_ENDPOINTS,
)


def page(name: str) -> str:
    return (DOCS / name).read_text("utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_that_is_drawn_from_the_program_agrees_with_it(name: str) -> None:
    assert page(name) == PAGES[name](), "run `make docs`"


@pytest.mark.parametrize(
    "path",
    [*ROOT.glob("*.md"), *DOCS.glob("*.md"), ROOT / "examples/README.md"],
    ids=lambda path: path.name,
)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    for target, section in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", path.read_text("utf-8")):
        linked = path.parent / target if target else path
        assert linked.exists(), target
        assert not section or section in sections(linked), f"{target}#{section}"


def sections(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each).lower().replace(" ", "-") for each in headings}


def test_the_readme_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert [path.name for path in DOCS.glob("*.md") if f"(docs/{path.name})" not in readme] == []


def test_every_route_is_in_the_table_of_routes() -> None:
    listed = {
        (method, unnamed(path))
        for methods, paths in re.findall(r"^\| (`[^|]*`) \| (`[^|]*`) \|", routes(), re.MULTILINE)
        for method in ticked(methods)
        for path in spelt_out(ticked(paths))
    }
    served = {(each.method, unnamed(each.path)) for each in ENDPOINTS}
    assert served - listed == set()


def routes() -> str:
    return page("http-api.md").partition("## ")[0]


def unnamed(path: str) -> str:
    """A path whose parameters are called alike, whatever they are."""
    return re.sub(r"\{\w+\}", "{}", path)


def ticked(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", text)


def spelt_out(paths: list[str]) -> list[str]:
    """``/plans/{id}/start``, ``pause`` means ``/plans/{id}/pause`` too."""
    stem = paths[0].rpartition("/")[0]
    return [each if each.startswith("/") else f"{stem}/{each}" for each in paths]


def test_every_type_of_event_is_described() -> None:
    written = {
        f"{lifecycle.noun}.{each.past}"
        for lifecycle in (PLAN_LIFECYCLE, TASK_LIFECYCLE)
        for each in lifecycle.transitions
    }
    for path in SQL.rglob("*.py"):
        written |= set(re.findall(r"'((?:plan|task)\.[a-z_]+)'", path.read_text("utf-8")))
    assert written - set(ticked(page("events.md"))) == set()
    assert written == PAYLOADS.keys()


def test_every_method_of_the_store_is_described() -> None:
    methods = {
        name
        for name, _ in inspect.getmembers(PlanStore, inspect.isfunction)
        if not name.startswith("_")
    }
    described = {each.partition("(")[0] for each in ticked(page("python.md"))}
    assert methods - described == set()


def test_every_command_is_described() -> None:
    described = {" ".join(each.split()[1:]) for each in ticked(page("command-line.md"))}
    described = {re.sub(r" [\[A-Z].*", "", each) for each in described}
    assert {*commands(get_group(app), ())} - described == set()


def commands(group: TyperGroup, path: tuple[str, ...]) -> Iterable[str]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name))
