"""Whatever is sent as a body: it is done, or it is a problem that changed nothing; never a 5xx."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planstore.errors import ERRORS_BY_CODE
from planstore.models import PlanCreate, PlanUpdate, TaskCreate, TaskUpdate
from planstore.models.claim import Completion, Failure, Heartbeat, Reset, Results
from planstore.models.dependency import DependenciesUpdate
from tests.http.wire import faults_of, new_plan, new_task, problem_of

if TYPE_CHECKING:
    import httpx2
    from pydantic import BaseModel

    from tests.http.wire import Json, Ledger

WHAT_A_BODY_MAY_MEET: Final = {400, 404, 409, 413, 422}

HOSTILE = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def doors(client: httpx2.Client) -> dict[str, tuple[str, str]]:
    """Every method and path that takes a body."""
    plan = new_plan(client, status="active", auto_complete=False)
    task = new_task(client, plan)
    return {
        "POST /plans/": ("POST", "/plans/"),
        "PATCH /plans/": ("PATCH", f"/plans/{plan['id']}"),
        "POST /tasks/": ("POST", "/tasks/"),
        "POST /plans/tasks": ("POST", "/plans/tasks"),
        "PATCH /tasks/": ("PATCH", f"/tasks/{task['id']}"),
        "PATCH /plans/tasks/": ("PATCH", f"/plans/tasks/{task['id']}"),
        **{
            f"POST {verb}": ("POST", f"/tasks/{task['id']}/{verb}")
            for verb in ("complete", "fail", "release", "skip", "retry", "reset")
        },
        **{
            f"{method} dependencies": (method, f"/tasks/{task['id']}/dependencies")
            for method in ("PUT", "POST", "DELETE")
        },
        "POST heartbeat": ("POST", "/tasks/heartbeat"),
        "POST many": ("POST", "/tasks/complete"),
    }


def assert_done_or_refused(
    client: httpx2.Client, ledger: Ledger, door: tuple[str, str], body: bytes
) -> None:
    method, path = door
    before = ledger.ask(_COUNT)
    response = client.request(method, path, content=body)
    after = ledger.ask(_COUNT)

    if response.is_success:
        assert response.status_code == (201 if method == "POST" else 200)
        kind = "/tasks/" if "plan_id" in response.json() else "/plans/"
        assert client.get(kind + response.json()["id"]).content == response.content
        return
    assert response.status_code in WHAT_A_BODY_MAY_MEET, response.text
    code = response.json()["code"]
    assert code in ERRORS_BY_CODE
    problem = problem_of(response, response.status_code, code)
    assert (response.status_code == 422) == bool(problem["errors"])
    if code == "result_conflict":  # the one refusal that is kept as an event
        return
    assert after == before


_COUNT: Final = """
select
  (select count(*) from planstore.events),
  (select count(*) from planstore.idempotency_keys),
  (select sum(version) from planstore.plans),
  (select sum(version) from planstore.task_states)
"""

STRANGER: Final = "11111111-1111-4111-8111-111111111111"

TEXTS: Final = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["", " ", "\x00", "a\x00b", "\ud800", "\udfff", "\\u0000", "\ufeff", "\uffff", "🙂", "'"]
    ),
    st.sampled_from(["null", "NaN", "Infinity", "-Infinity", "true", "0", "1e999", "pending"]),
    st.sampled_from(
        [
            *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"),
            *("10000-01-01T00:00:00Z", "2026-02-30", "2026-01-24T10:00:00", "infinity", "-1"),
            *(STRANGER, STRANGER.upper(), f"{{{STRANGER}}}", f"urn:uuid:{STRANGER}", STRANGER[1:]),
        ]
    ),
)
NUMBERS: Final = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([2**31 - 1, 2**31, -(2**31), 2**53 + 1, 2**63, -(2**63) - 1, 10**400]),
    st.sampled_from([-0.0, 5e-324, 1.7976931348623157e308, float("nan"), float("inf")]),
)
LEAVES: Final = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
JSON: Final = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(TEXTS, inner, max_size=4),
    ),
    max_leaves=12,
)
NESTED: Final = st.integers(1, 90).map(lambda depth: json.loads("[" * depth + "]" * depth))


def objects_for(*models: type[BaseModel]) -> st.SearchStrategy[Json]:
    """Objects with the fields of the models, their misspellings and others, and any values."""
    names = sorted({name for model in models for name in model.model_fields})
    keys = st.one_of(st.sampled_from(names), st.sampled_from(names), TEXTS)
    values = st.one_of(JSON, NESTED, st.sampled_from(["active", "running", "completed", "failed"]))
    return st.dictionaries(keys, values, max_size=6)


ANYTHING: Final = st.one_of(
    objects_for(PlanCreate, PlanUpdate),
    objects_for(TaskCreate, TaskUpdate),
    JSON,
)


def text_of(content: Any) -> bytes:
    return json.dumps(content).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(
    "door",
    ["POST /plans/", "PATCH /plans/", "POST /tasks/", "PATCH /tasks/", "PATCH /plans/tasks/"],
)
@HOSTILE
@given(content=ANYTHING)
def test_any_json_is_done_or_refused_at_every_door(
    client: httpx2.Client,
    ledger: Ledger,
    doors: dict[str, tuple[str, str]],
    door: str,
    content: Any,
) -> None:
    assert_done_or_refused(client, ledger, doors[door], text_of(content))


REPORTS: Final = [
    *(f"POST {verb}" for verb in ("complete", "fail", "release", "skip", "retry", "reset")),
    *(f"{method} dependencies" for method in ("PUT", "POST", "DELETE")),
    *("POST heartbeat", "POST many"),
]


@HOSTILE
@given(
    door=st.sampled_from(REPORTS),
    content=st.one_of(
        objects_for(Completion, Failure, Reset),
        objects_for(DependenciesUpdate, Heartbeat, Results),
        st.fixed_dictionaries({"error": JSON}),
        st.fixed_dictionaries({"output_data": JSON}),
        st.fixed_dictionaries({"depends_on": JSON}),
        JSON,
    ).filter(
        lambda content: "claim_next" not in str(content)
    ),  # it may wait, and take others' tasks
)
def test_any_json_is_done_or_refused_at_the_doors_of_those_who_report(
    client: httpx2.Client,
    ledger: Ledger,
    doors: dict[str, tuple[str, str]],
    door: str,
    content: Any,
) -> None:
    method, path = doors[door]
    before = ledger.ask(_COUNT)
    response = client.request(method, path, content=text_of(content))
    if response.is_success:
        assert response.status_code == 200
        return
    assert response.status_code in WHAT_A_BODY_MAY_MEET, response.text
    code = response.json()["code"]
    problem_of(response, response.status_code, code)
    if code not in {"result_conflict", "stale_claim"}:  # what was sent late is kept as an event
        assert ledger.ask(_COUNT) == before


FIELDS: Final = [
    *(("POST /plans/tasks", name) for name in ("input_data", "metadata", "name", "sequence_order")),
    *(("POST /plans/", name) for name in ("steps", "metadata", "plan_type", "current_step")),
]


@HOSTILE
@given(content=JSON, field=st.sampled_from(FIELDS))
def test_any_json_is_done_or_refused_in_a_body_that_is_sound_elsewhere(
    client: httpx2.Client,
    ledger: Ledger,
    doors: dict[str, tuple[str, str]],
    content: Any,
    field: tuple[str, str],
) -> None:
    door, name = field
    _, path = doors["PATCH /plans/"]
    sound: dict[str, Any] = (
        {"plan_id": path.removeprefix("/plans/"), "description": "do it"} if "tasks" in door else {}
    )
    assert_done_or_refused(client, ledger, doors[door], text_of({**sound, name: content}))


@HOSTILE
@given(
    body=st.one_of(
        st.binary(max_size=200),
        JSON.map(text_of)
        .flatmap(
            lambda text: st.tuples(
                st.just(text), st.integers(0, len(text)), st.binary(min_size=1, max_size=3)
            )
        )
        .map(lambda cut: cut[0][: cut[1]] + cut[2] + cut[0][cut[1] :]),
    ),
    door=st.sampled_from(["POST /plans/", "PATCH /plans/", "POST /tasks/", "PATCH /tasks/"]),
)
def test_any_bytes_are_done_or_refused(
    client: httpx2.Client,
    ledger: Ledger,
    doors: dict[str, tuple[str, str]],
    body: bytes,
    door: str,
) -> None:
    assert_done_or_refused(client, ledger, doors[door], body)


NASTY: Final = {
    "an escaped NUL": b'{"%s": "a\\u0000b"}',
    "a lone surrogate": b'{"%s": "\\ud83d"}',
    "surrogates in the wrong order": b'{"%s": "\\ude42\\ud83d"}',
    "NaN": b'{"%s": NaN}',
    "minus infinity": b'{"%s": -Infinity}',
    "1e999": b'{"%s": 1e999}',
    "1e-999": b'{"%s": 1e-999}',
    "a number of 4,300 digits": b'{"%%s": %s}' % (b"9" * 4_300),
    "a number of 100,000 digits": b'{"%%s": %s}' % (b"9" * 100_000),
    "a fraction of 100,000 digits": b'{"%%s": 0.%s}' % (b"1" * 100_000),
    "a deep list": b'{"%%s": %s1%s}' % (b"[" * 150, b"]" * 150),
    "a deep object": b'{"%%s": %s1%s}' % (b'{"a":' * 150, b"}" * 150),
    "a wide list": b'{"%%s": [%s]}' % b",".join([b"0"] * 20_000),
    "a wide object": b'{"%%s": {%s}}' % b",".join(b'"%d": 0' % n for n in range(5_000)),
    "a long text": b'{"%%s": "%s"}' % (b"x" * 200_000),
    "a long key": b'{"%%s": {"%s": 1}}' % (b"x" * 200_000),
    "the key twice": b'{"%s": 1, "%s": {}}',
    "an unknown id": b'{"%%s": "%s"}' % STRANGER.encode(),
    "an empty text": b'{"%s": ""}',
    "an empty list": b'{"%s": []}',
    "a list of nulls": b'{"%s": [null]}',
}


@pytest.mark.parametrize("body", NASTY.values(), ids=NASTY)
def test_nasty_values_are_done_or_refused_in_every_field(
    client: httpx2.Client,
    ledger: Ledger,
    doors: dict[str, tuple[str, str]],
    body: bytes,
) -> None:
    models = {
        "POST /plans/": PlanCreate,
        "PATCH /plans/": PlanUpdate,
        "POST /tasks/": TaskCreate,
        "PATCH /tasks/": TaskUpdate,
    }
    for door, model in models.items():
        for name in model.model_fields:
            text = body.replace(b"%s", name.encode())
            assert_done_or_refused(client, ledger, doors[door], text)


def test_a_thousand_faults_are_named_and_no_more(client: httpx2.Client, ledger: Ledger) -> None:
    for count in (999, 1_000, 20_000):
        many: list[Json] = [
            {f"field {number}": 1 for number in range(count)},
            {"metadata": {"a": ["\x00"] * count}},
        ]
        for content in many:
            with ledger.unchanged():
                problem = problem_of(client.post("/plans/", json=content), 422, "invalid_input")

            assert len(problem["errors"]) == min(count, 1_000)


def test_steps_that_are_too_many_are_not_looked_at(client: httpx2.Client, ledger: Ledger) -> None:
    # An answer that named the fault of each would be some forty times as large as the body.
    body = b'{"steps": [%s]}' % b",".join([b"0"] * 2_000_000)

    with ledger.unchanged():
        faults = faults_of(client.post("/plans/", content=body))

    assert faults.keys() == {"/steps"}
    assert "2000000 steps; at most 10000" in faults["/steps"]
