"""Both clients have the methods of `PlanStore`, one by one."""

from __future__ import annotations

import inspect

import pytest

from planstore.client import AsyncPlanStoreClient, PlanStoreClient
from planstore.services.plan_store import PlanStore
from tools.write_client import BY_HAND, CLIENT, FACES, LEFT_OUT, written
from tools.write_docs import DOCS

_PUBLIC = {name for name in dir(PlanStore) if not name.startswith("_")}


@pytest.mark.parametrize("name", FACES)
def test_a_client_is_as_it_would_be_written(name: str) -> None:
    assert (CLIENT / name).read_text("utf-8") == written(FACES[name]), "run `make client`"


@pytest.mark.parametrize("client", [AsyncPlanStoreClient, PlanStoreClient])
def test_every_method_is_on_the_client_or_left_out_for_a_reason(client: type) -> None:
    public = {name for name in dir(client) if not name.startswith("_")}
    assert public | LEFT_OUT.keys() == _PUBLIC
    assert not public & LEFT_OUT.keys()


def test_the_page_names_what_is_left_out() -> None:
    page = (DOCS / "client.md").read_text("utf-8")
    assert [name for name in LEFT_OUT if f"`{name}`" not in page] == []


@pytest.mark.parametrize("client", [AsyncPlanStoreClient, PlanStoreClient])
@pytest.mark.parametrize("name", sorted(_PUBLIC - LEFT_OUT.keys() - BY_HAND))
def test_a_method_has_one_signature_everywhere(name: str, client: type) -> None:
    there, here = getattr(PlanStore, name), getattr(client, name)
    assert inspect.signature(here).parameters == inspect.signature(there).parameters
    assert inspect.getdoc(here)
    is_async = client is AsyncPlanStoreClient and inspect.iscoroutinefunction(there)
    assert inspect.iscoroutinefunction(here) == is_async
