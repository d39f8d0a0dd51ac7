"""`planstore template`, against a real server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest

from planstore.models import PlanCreate, TemplateCreate
from tests.commands.test_plan import KITCHEN

if TYPE_CHECKING:
    from pathlib import Path

    from planstore.client import PlanStoreClient
    from planstore.models import Template
    from tests.commands.conftest import Run

SOUP: Final[dict[str, Any]] = {
    "description": "Cooks a soup",
    "parameters": {
        "properties": {
            "of": {"type": "string"},
            "priority": {"type": "integer", "default": 5},
            "spices": {"type": "array"},
            "note": True,
        },
        "required": ["of"],
    },
    "plan": {
        "plan_type": "dag",
        "metadata": {"spices": "{{params.spices}}", "note": "{{params.note}}"},
        "tasks": [
            {"name": "boil", "description": "Boil", "priority": "{{params.priority}}"},
            {"name": "stir", "description": "Stir {{params.of}}", "depends_on": ["boil"]},
        ],
    },
}


@pytest.fixture
def template(client: PlanStoreClient) -> Template:
    return client.create_template(
        TemplateCreate.model_validate({"name": f"soup-{uuid4()}", **SOUP})
    )


def test_a_template_is_made_of_a_file(run: Run, client: PlanStoreClient, tmp_path: Path) -> None:
    file, name = tmp_path / "soup.json", f"soup-{uuid4()}"
    file.write_text(json.dumps({"name": name, **SOUP}))

    made = run("template", "new", file)

    assert made.out == f"template {name} is at version 1\n", made.err
    assert client.get_template(name).plan["tasks"][1]["name"] == "stir"
    again = run("template", "create", file)
    assert (again.status, f"a template '{name}' already" in again.err) == (1, True)


def test_a_template_gets_a_new_version_from_a_file(
    run: Run, client: PlanStoreClient, template: Template, tmp_path: Path
) -> None:
    file = tmp_path / "soup.json"
    file.write_text(json.dumps({"name": template.name, "description": "Cooks a stew"}))

    made = run("template", "revise", template.name, file)

    assert made.out == f"template {template.name} is at version 2\n", made.err
    latest = client.get_template(template.name)
    assert (latest.description, latest.plan) == ("Cooks a stew", template.plan)
    file.write_text('{"name": "broth", "descripton": "Cooks"}')
    refused = run("template", "revise", template.name, file)
    assert refused.status == 1
    assert "/name: it is unknown" in refused.err
    assert "/descripton: it is unknown; did you mean 'description'?" in refused.err
    assert client.get_template(template.name).version == 2


def test_a_file_that_is_no_template_names_its_faults(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "soup.json"
    file.write_text('{"nam": "soup", "plan": []}')

    refused = run("template", "create", file)

    assert refused.status == 1
    assert "/nam: it is unknown; did you mean 'name'?" in refused.err
    assert "/plan: " in refused.err


def test_templates_and_their_versions_are_listed(run: Run, template: Template) -> None:
    shown = run("template", "ls", "-n", 1_000)
    listed = run("template", "list", "-n", 1_000, "--json").json
    versions = run("template", "versions", template.name)

    head = ["template", "version", "parameters", "description", "age"]
    assert [each.out.splitlines()[0].split() for each in (shown, versions)] == [head, head]
    (line,) = [line for line in shown.out.splitlines() if line.startswith(template.name)]
    assert "of, priority, spices, note" in line
    assert line in versions.out
    assert template.name in [each["name"] for each in listed]
    assert run("template", "versions", template.name, "--json").json[0]["version"] == 1


def test_a_template_is_shown_with_what_it_takes(run: Run, template: Template) -> None:
    shown = " ".join(run("template", "show", template.name).out.split())

    for what in (
        '--param of required, {"type":"string"}',
        '--param priority 5 if left out, {"type":"integer"}',
        "--param note anything",
        "plans 0",
        "stir Stir {{params.of}}",
    ):
        assert what in shown
    whole = run("template", "get", template.name, "--version", 1, "--json").json
    assert whole == json.loads(template.model_dump_json())


def test_tasks_may_be_a_parameter(run: Run, client: PlanStoreClient) -> None:
    for tasks in (["{{params.some}}"], "{{params.some}}"):
        content = {"parameters": {"properties": {"some": True}}, "plan": {"tasks": tasks}}
        made = TemplateCreate.model_validate({"name": f"open-{uuid4()}", **content})
        client.create_template(made)
        assert "{{params.some}}" in run("template", "show", made.name).out


def test_a_wrong_name_is_answered_with_the_nearest(
    run: Run, template: Template, tmp_path: Path
) -> None:
    template_file = tmp_path / "soup.json"
    template_file.write_text(json.dumps(SOUP))
    for verb, *file in (
        *(["show"], ["use"], ["versions"], ["archive"], ["restore"]),
        ["revise", template_file],
    ):
        refused = run("template", verb, template.name.replace("soup", "suop"), *file)
        assert refused.status == 1
        assert f"did you mean '{template.name}'?" in refused.err


def test_a_plan_is_made_of_a_template(
    run: Run, client: PlanStoreClient, template: Template
) -> None:
    params = ("-p", "of=beans", "--param", "priority=7", "-p", 'spices=["salt"]', "-p", "note=1")
    made = run("template", "use", template.name, *params, "--start", "-l", "lunch", "--json").json

    boil, stir = client.list_tasks(plan_id=made["id"])
    assert (boil.priority, stir.description) == (7, "Stir beans")
    assert made["metadata"] == {"spices": ["salt"], "note": "1"}
    assert (made["status"], made["labels"], made["template"]) == (
        "active",
        ["lunch"],
        template.name,
    )
    given = '{"of": "peas", "spices": [], "note": 1}'
    said = run("template", "use", template.name, "--params", given, "-p", "of=leeks").out
    assert said.endswith(" is draft\n")
    (_, stir) = client.list_tasks(plan_id=said.split()[1])  # pyright: ignore[reportArgumentType] - as text
    assert stir.description == "Stir leeks"


@pytest.mark.parametrize(
    ("param", "why"),
    [
        ("of", "--param takes NAME=VALUE"),
        ("=beans", "--param takes NAME=VALUE"),
        ("priority=high", "/params/priority: its type must be"),
        ("pirority=1", "did you mean 'priority'?"),
    ],
)
def test_a_parameter_that_does_not_fit_is_said(
    run: Run, template: Template, param: str, why: str
) -> None:
    refused = run("template", "use", template.name, "--param", param)

    assert refused.status == 1
    assert why in refused.err


def test_a_plan_is_kept_as_a_template(run: Run, client: PlanStoreClient) -> None:
    plan = client.create_plan(PlanCreate.model_validate(KITCHEN, strict=False))
    name = f"kitchen-{uuid4()}"

    saved = run("template", "save", str(plan.id)[:23], name, "-d", "Cooks", "--json").json

    assert (saved["name"], saved["description"]) == (name, "Cooks")
    assert [task["name"] for task in saved["plan"]["tasks"]] == ["boil", "chop", "soup", "serve"]


def test_a_template_is_archived_and_restored(run: Run, template: Template) -> None:
    archived = run("template", "archive", template.name)
    refused = run("template", "use", template.name, "-p", "of=beans")

    assert archived.out == f"template {template.name} is at version 1, archived\n"
    assert (refused.status, "archived" in refused.err) == (1, True)
    assert template.name not in run("template", "ls", "-n", 1_000).out
    assert template.name in run("template", "ls", "--archived", "-n", 1_000).out
    restored = run("template", "restore", template.name, "--json").json
    assert restored["archived_at"] is None
