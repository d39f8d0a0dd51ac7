"""Reading checklists in Markdown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Final

from planstore.errors import MalformedBody
from planstore.models.task import TaskStatus
from planstore.services.intake.gathering import Item

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planstore.services.intake.gathering import Gathering

_ITEM: Final = re.compile(
    r"(?P<indent>[ \t]*)(?P<mark>[-*+]|\d{1,9}[.)])[ \t]+"
    r"\[(?P<check>[ xX])\](?:[ \t]+(?P<text>.*))?$"
)
_FENCE: Final = re.compile(r"[ \t]*(`{3,}|~{3,})")
_HEADING: Final = re.compile(r" {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*[ \t]*$")
_ESCAPED: Final = re.compile(r"\\([!-/:-@\[-`{-~])")
_TAB: Final = 4
"""Columns from one tab stop to the next, as Markdown has it."""


@dataclass(slots=True)
class _Checked:
    """An item of a checklist, with the lines that belong to it."""

    line: int
    indent: int
    is_numbered: bool
    is_checked: bool
    headings: tuple[str, ...]
    lines: list[str] = field(default_factory=list[str])


def read(file: IO[bytes], gathering: Gathering) -> None:
    """Read each item that can be checked.

    What is nested is a part of the item around it; a numbered item needs the one before it in its
    list. All else is left out, but for headings and for the text that belongs to an item.

    Raises:
        MalformedBody: it isn't text in UTF-8.
    """
    title: str | None = None
    around: list[tuple[int, int]] = []  # indent and number of the items that we are in
    last: dict[int | None, int] = {}  # by what is around it, the numbered item before
    for found in _Reading().items(file):
        if isinstance(found, str):
            title = title or found
            continue
        while around and around[-1][0] >= found.indent:
            last.pop(around.pop()[1], None)
        within = around[-1][1] if around else None
        before = last.pop(within, None)
        number = _add(found, gathering, within=within, after=before if found.is_numbered else None)
        if found.is_numbered:
            last[within] = number
        around.append((found.indent, number))
    metadata = {} if title is None else {"title": title}
    gathering.describe({"plan_type": "dag", "metadata": metadata}, at="")


def _add(found: _Checked, gathering: Gathering, *, within: int | None, after: int | None) -> int:
    at = f"line {found.line}"
    metadata = {"headings": [*found.headings]} if found.headings else {}
    fields: dict[str, Any] = {
        "description": _plain("\n".join(found.lines).strip()),
        "metadata": metadata,
    }
    if found.is_checked:
        fields["status"] = TaskStatus.COMPLETED
    origins = {"description": at, "metadata": at}
    return gathering.add(Item(at=at, fields=fields, origins=origins, within=within, after=after))


def _plain(text: str) -> str:
    """Take back what was escaped."""
    return _ESCAPED.sub(r"\1", text)


class _Reading:
    """What a line means after those before it."""

    def __init__(self) -> None:
        self._headings: list[tuple[int, str]] = []
        self._fence: str | None = None
        self._item: _Checked | None = None

    def items(self, file: IO[bytes]) -> Iterator[_Checked | str]:
        """Yield the items that can be checked, and the headings of the highest level."""
        for number, line in enumerate(_lines(file), 1):
            yield from self._take(number, line)
        yield from self._ended()

    def _take(self, number: int, line: str) -> Iterator[_Checked | str]:
        if self._is_code(line):
            yield from self._go_on(line, line)
        elif (match := _ITEM.match(line)) is not None:
            yield from self._ended()
            self._item = _Checked(
                line=number,
                indent=_width(match["indent"]),
                is_numbered=match["mark"][0].isdigit(),
                is_checked=match["check"] != " ",
                headings=tuple(text for _, text in self._headings),
                lines=[match["text"] or ""],
            )
        elif (heading := _HEADING.match(line)) is not None:
            yield from self._ended()
            level, text = len(heading[1]), _plain(heading[2])
            self._headings = [*(each for each in self._headings if each[0] < level), (level, text)]
            if level == 1:
                yield text
        else:
            yield from self._go_on(line, line.strip())

    def _is_code(self, line: str) -> bool:
        """Whether a line is part of a block of code, which holds no items."""
        mark = _FENCE.match(line)
        if self._fence is None:
            self._fence = None if mark is None else mark[1]
            return mark is not None
        if mark is not None and mark[1].startswith(self._fence):
            self._fence = None
        return True

    def _go_on(self, line: str, text: str) -> Iterator[_Checked]:
        """Add a line to the item before it, if it belongs there."""
        if self._item is not None and _belongs(line, self._item):
            self._item.lines.append(text)
        else:
            yield from self._ended()

    def _ended(self) -> Iterator[_Checked]:
        if self._item is not None:
            yield self._item
            self._item = None


def _belongs(line: str, item: _Checked) -> bool:
    """Whether a line is more of an item: it is blank, or indented further than the item's mark."""
    return not line.strip() or _width(line) > item.indent


def _width(line: str) -> int:
    """How many columns a line is indented."""
    blank = line[: len(line) - len(line.lstrip(" \t"))]
    return len(blank.expandtabs(_TAB))


def _lines(file: IO[bytes]) -> Iterator[str]:
    for number, line in enumerate(file, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise MalformedBody(f"line {number} is not UTF-8: {error.reason}") from None
