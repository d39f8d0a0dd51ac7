"""What comes out: a JSON line for each measurement as it is made, and tables at the end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console

if TYPE_CHECKING:
    from rich.table import Table


class Report:
    """Collects what the subjects measure."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._tables: list[Table] = []
        self._console = Console(highlight=False)

    def record(self, kind: str, **fields: Any) -> None:
        """Write one measurement to the file; ``fields`` are plain JSON."""
        self._file.write(json.dumps({"kind": kind, **fields}) + "\n")
        self._file.flush()

    def progress(self, text: str) -> None:
        """Say what is being done."""
        self._console.print(text, style="dim", markup=False)

    def add(self, table: Table) -> None:
        """Keep a table for the end."""
        self._tables.append(table)

    def print_tables(self) -> None:
        """Print all tables, however narrow what they are printed to claims to be."""
        console = Console(highlight=False, width=max(self._console.width, 150))
        for table in self._tables:
            console.print()
            console.print(table)


def verdict(text: str, *, is_met: bool) -> str:
    """Mark a figure by whether it meets its goal."""
    return f"[green]{text}[/]" if is_met else f"[bold red]{text} ✗[/]"
