"""Servers that pass events on to Redis, killed in the middle; and what callers notice of Redis."""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from planstore.embedded.waiting import wait_until
from tests import redis as servers
from tests.http.wire import new_plan, new_task
from tests.served import PATIENCE, database_of, refusal, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Postgres
    from tests.redis import Valkey
    from tests.served import Served

PAGE: Final = Path(__file__).parents[2] / "docs/redis.md"

_TASKS: Final = 20


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with servers.running() as server:
        yield server


@pytest.fixture
def settings(postgres: Postgres, valkey: Valkey) -> Iterator[dict[str, str]]:
    with database_of(postgres) as url:
        yield {"PLANSTORE_DATABASE_URL": url, "PLANSTORE_REDIS_URL": valkey.url}


def work(served: Served) -> set[tuple[str, int]]:
    """Complete some tasks; answers the last version of each object."""
    with served.client() as client:
        plan = new_plan(client, status="active")
        tasks = [new_task(client, plan) for _ in range(_TASKS)]
        for task in tasks:
            done = client.patch(f"/tasks/{task['id']}", json={"status": "completed"})
            assert done.status_code == 200
        return {(each["id"], 2) for each in tasks}


def told(valkey: Valkey) -> set[tuple[str, int]]:
    return {
        (event["subject"].rpartition("/")[2], event["objectversion"]) for event in valkey.events()
    }


def assert_all_told(valkey: Valkey, changes: set[tuple[str, int]]) -> None:
    assert wait_until(lambda: changes <= told(valkey), seconds=PATIENCE), changes - told(valkey)


def seqs(valkey: Valkey) -> list[int]:
    return [int(event["seq"]) for event in valkey.events()]


def test_a_server_passes_on_what_happens_from_its_start(
    valkey: Valkey, settings: dict[str, str]
) -> None:
    with serving(**settings) as served:
        assert_all_told(valkey, work(served))
    assert seqs(valkey) == list(range(1, len(seqs(valkey)) + 1))


def test_when_a_server_is_killed_in_the_middle_another_goes_on_within_seconds(
    valkey: Valkey, settings: dict[str, str]
) -> None:
    with serving(**settings) as first, serving(**settings) as second:
        changes = work(first) | work(second)
        assert wait_until(lambda: bool(valkey.events()), seconds=PATIENCE)
        first.end(signal.SIGKILL)
        killed = time.monotonic()
        changes |= work(second)
        assert_all_told(valkey, changes)
        assert time.monotonic() - killed < 15
    firsts = list(dict.fromkeys(seqs(valkey)))
    assert firsts == sorted(firsts)


def test_a_server_that_was_stopped_and_goes_on_tells_nothing_out_of_order(
    valkey: Valkey, settings: dict[str, str]
) -> None:
    with ExitStack() as stack:
        sleeper = stack.enter_context(serving(**settings))
        changes = work(sleeper)
        assert_all_told(valkey, changes)
        other = stack.enter_context(serving(**settings))
        sleeper.process.send_signal(signal.SIGSTOP)
        changes |= work(other)
        assert_all_told(valkey, changes)
        sleeper.process.send_signal(signal.SIGCONT)
        changes |= work(sleeper) | work(other)
        assert_all_told(valkey, changes)
    firsts = list(dict.fromkeys(seqs(valkey)))
    assert firsts == sorted(firsts)


def test_nobody_notices_that_redis_is_away(valkey: Valkey, settings: dict[str, str]) -> None:
    valkey.kill()
    with serving(**settings) as served:
        changes = work(served)
        assert is_ready(served)
        valkey.start()
        assert_all_told(valkey, changes)
        log = served.log.read_text()
    assert "Events for Redis have to wait" in log
    assert "Traceback" not in log


def test_nobody_waits_for_a_redis_that_hangs(valkey: Valkey, settings: dict[str, str]) -> None:
    with serving(**settings) as served:
        changes = work(served)
        assert_all_told(valkey, changes)
        assert valkey.process is not None
        os.kill(valkey.process.pid, signal.SIGSTOP)
        try:
            begun = time.monotonic()
            changes |= work(served)
            assert is_ready(served)
            # It would hang for as long as its answers are waited for.
            assert time.monotonic() - begun < 5
        finally:
            os.kill(valkey.process.pid, signal.SIGCONT)
        assert_all_told(valkey, changes)


def is_ready(served: Served) -> bool:
    with served.client() as client:
        return client.get("/health/ready").status_code == 200


def test_a_server_stops_in_good_time_though_redis_hangs(
    valkey: Valkey, settings: dict[str, str]
) -> None:
    with serving(**settings) as served:
        assert_all_told(valkey, work(served))
        assert valkey.process is not None
        os.kill(valkey.process.pid, signal.SIGSTOP)
        try:
            work(served)
            begun = time.monotonic()
            assert served.end(signal.SIGTERM) == 0
            assert time.monotonic() - begun < 5
        finally:
            os.kill(valkey.process.pid, signal.SIGCONT)
        assert "Traceback" not in served.log.read_text()


@pytest.mark.parametrize("url", ["http://user:hidden@localhost", "redis://:hidden@localhost:x/0"])
def test_a_url_that_cannot_be_read_is_refused_before_the_server_starts(
    settings: dict[str, str], url: str
) -> None:
    ended: Any = refusal(**{**settings, "PLANSTORE_REDIS_URL": url})
    assert ended.returncode != 0
    assert "PLANSTORE_REDIS_URL" in ended.stderr
    assert "hidden" not in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr


def test_the_consumer_that_the_page_shows_reads_the_stream(
    settings: dict[str, str], valkey: Valkey, capsys: pytest.CaptureFixture[str]
) -> None:
    page = PAGE.read_text("utf-8")
    (program,) = re.findall(r"^```python redis\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    with serving(**settings) as served, served.client() as client:
        new_task(client, new_plan(client))
        assert wait_until(lambda: len(valkey.events()) == 3, seconds=PATIENCE)
        names: dict[str, Any] = {}
        exec(compile(program, PAGE.name, "exec"), names)
        *_, main = filter(inspect.iscoroutinefunction, names.values())
        asyncio.run(main(valkey.url))
    shown = re.findall(r"^ +# (planstore\..*)$", program, re.MULTILINE)
    assert capsys.readouterr().out.splitlines() == shown
