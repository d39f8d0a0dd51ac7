"""`planstore stats`, against a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args
from uuid import uuid4

import pytest

from planstore.commands.stats import By
from planstore.embedded.waiting import wait_until
from planstore.models import Failure, PlanCreate
from planstore.models.statistics import Dimension, StatisticsQuery

if TYPE_CHECKING:
    from planstore.client import PlanStoreClient
    from tests.commands.conftest import Run


@pytest.fixture(scope="module")
def kind(client: PlanStoreClient) -> str:
    """A type of tasks of which one has completed and one has failed, as the server has counted.

    One of another type has completed before.
    """
    kind = f"kind-{uuid4()}"
    tasks = [{"description": "do", "task_type": each} for each in ("other", kind, kind)]
    made = PlanCreate.model_validate({"plan_type": "parallel", "status": "active", "tasks": tasks})
    other, done, failed = client.list_tasks(plan_id=client.create_plan(made).id)
    client.complete_task(other.id)
    client.complete_task(done.id)
    client.fail_task(failed.id, Failure(error="boom", retryable=False))
    query = StatisticsQuery(task_type=kind)
    assert wait_until(lambda: client.get_statistics(query).total.failed == 1, seconds=30)
    return kind


def test_what_became_of_tasks_is_told(run: Run, kind: str) -> None:
    told = " ".join(run("stats", "--type", kind, "--window", "1h").out.split())
    whole = run("stats", "--type", kind, "--json").json

    assert "completed 1 failed 1 success rate 50 % throughput 2.0/h" in told
    assert (whole["total"]["completed"], whole["groups"]) == (1, [])


def test_tasks_are_told_apart(run: Run, kind: str) -> None:
    told = run("stats", "--by", "task_type", "-n", 50).out
    (line,) = [line.split() for line in told.splitlines() if line.startswith(kind)]

    assert line[1:5] == ["1", "1", "50", "%"]
    grouped = run("stats", "-b", "task_type", "-n", 1, "--json").json
    assert (grouped["group_by"], len(grouped["groups"])) == ("task_type", 1)


def test_a_time_is_told_span_by_span(run: Run, kind: str) -> None:
    told = run("stats", "--by", "time", "--type", kind, "--window", "1h").out.splitlines()
    line = run("stats", "--by", "time", "--window", "1h", "--json").json

    assert told[0].endswith(", by the minute")
    assert told[1].split()[:3] == ["time", "completed", "failed"]
    assert 3 <= len(told) <= 4  # what happened in other minutes than these is nothing
    assert line["step"] == "minute"
    none = run("stats", "--by", "time", "--type", "none", "--window", "1h").out
    assert none.splitlines()[1] == "nothing has ended"


def test_what_more_there_is_is_said(run: Run, kind: str) -> None:
    told = run("stats", "--by", "task_type", "-n", 1).out

    assert told.splitlines()[-1].endswith(" more; -n shows up to 50")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--window", "soon"], "/window: it must be a duration such as 15m"),
        (["--from", "2026-01-02", "--to", "2026-01-01"], "which isn't before"),
        (["--by", "template", "--type", "x"], "so name one"),
    ],
)
def test_what_cannot_be_told_is_refused(run: Run, options: list[str], why: str) -> None:
    refused = run("stats", *options)

    assert refused.status == 1
    assert why in refused.err


def test_the_command_line_knows_every_dimension() -> None:
    assert get_args(By) == ("time", *Dimension)
