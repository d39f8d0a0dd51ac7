"""The examples in the docs do what the pages say, against a real server.

The commands of a page are one script. A block of JSON that follows commands shows the last answer:
all that it shows has to be there, where a text of "…" is anything. A drawing has to be the same.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import subprocess
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import pytest

from tests.served import PATIENCE, database_of, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Postgres

DOCS: Final = Path(__file__).parent.parent / "docs"

_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_SEPARATOR: Final = "\x1e"
_PRINTED: Final = re.compile(r"print\(.*\)  # (.*)$", re.MULTILINE)


class Example(NamedTuple):
    """Commands, and what the page says that they answer."""

    commands: str
    language: str
    """Of the answer; empty where the page doesn't show it."""
    answer: str


def blocks(page: Path) -> list[tuple[str, str]]:
    return _BLOCK.findall(page.read_text("utf-8"))


def examples(page: Path) -> list[Example]:
    found = [*blocks(page), ("", "")]
    return [
        Example(text, *(following if following[0] in {"json", "mermaid"} else ("", "")))
        for (language, text), following in pairwise(found)
        if language == "bash"
    ]


def pages_with(language: str) -> list[Path]:
    return [
        page
        for page in sorted(DOCS.glob("*.md"))
        if any(kind == language for kind, _ in blocks(page))
    ]


@pytest.mark.parametrize("page", pages_with("bash"), ids=lambda page: page.name)
def test_commands_answer_what_the_page_shows(page: Path, postgres: Postgres) -> None:
    shown = examples(page)
    with database_of(postgres) as url, serving(PLANSTORE_DATABASE_URL=url) as server:
        answers = carried_out([each.commands for each in shown], server.url)
    for example, answer in zip(shown, answers, strict=True):
        if example.language == "mermaid":
            assert answer == example.answer
        elif example.language == "json":
            expected = json.loads(example.answer)
            last = [*documents(answer)][-1]
            assert missing(expected, last) == [], f"{example.commands}answers {answer}"
        for each in documents(answer) if example.language != "mermaid" else ():
            assert "code" not in each or "code" in example.answer, f"{example.commands}: {each}"


@pytest.mark.parametrize("page", pages_with("python"), ids=lambda page: page.name)
async def test_programs_print_what_the_page_shows(
    page: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = [program for language, program in blocks(page) if language == "python"]
    with ExitStack() as stack:
        urls = {"url": database_url}
        if any("(server: str)" in program for program in programs):
            server = stack.enter_context(serving(PLANSTORE_DATABASE_URL=database_url))
            urls["server"] = server.url
        for program in programs:
            names: dict[str, Any] = {}
            exec(compile(program, page.name, "exec"), names)
            *_, main = filter(inspect.isfunction, names.values())
            (asked_for,) = inspect.signature(main).parameters
            if inspect.iscoroutinefunction(main):
                await asyncio.wait_for(main(urls[asked_for]), PATIENCE)
            else:
                main(urls[asked_for])
            assert capsys.readouterr().out.splitlines() == _PRINTED.findall(program)


def carried_out(commands: list[str], url: str) -> list[str]:
    """Run all the commands in one shell; answers what each of them printed."""
    script = f"printf '{_SEPARATOR}'\n".join(["", *commands, ""])
    script = script.replace("localhost:8011", url.removeprefix("http://"))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", 'curl() { command curl -sS "$@"; }\n' + script],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout.split(_SEPARATOR)[1:-1]


def documents(text: str) -> Iterator[Any]:
    """Yield the JSON documents of a text, one after the other."""
    decoder = json.JSONDecoder()
    text = text.strip()
    while text:
        document, end = decoder.raw_decode(text)
        yield document
        text = text[end:].strip()


def missing(expected: Any, answer: Any, at: str = "") -> list[str]:
    """Name what a page shows and the answer doesn't have: objects may hold more, lists may not."""
    if expected == "…":
        return []
    if isinstance(expected, dict) and isinstance(answer, dict):
        members = cast("dict[str, Any]", expected)
        there = cast("dict[str, Any]", answer)
        return [
            each
            for name, value in members.items()
            for each in (
                missing(value, there[name], f"{at}/{name}") if name in there else [f"{at}/{name}"]
            )
        ]
    if isinstance(expected, list) and isinstance(answer, list):
        pairs = cast("list[Any]", expected), cast("list[Any]", answer)
        if len(pairs[0]) == len(pairs[1]):
            return [
                each
                for number, pair in enumerate(zip(*pairs, strict=True))
                for each in missing(*pair, f"{at}/{number}")
            ]
    return [] if expected == answer else [f"{at} is {answer!r}"]
