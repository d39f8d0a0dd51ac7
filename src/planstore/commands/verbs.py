"""What commands have in common: how their verbs may be spelt, and the options that many take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from typer._click import Command, Context  # Typer carries its own click, without another door

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")]
ThePlan = Annotated[str, typer.Argument(metavar="PLAN", help="Its id, or how that begins.")]
TheTask = Annotated[
    str, typer.Argument(metavar="TASK", help="Its name, PLAN/NAME, its id, or how that begins.")
]
InPlan = Annotated[
    str | None,
    typer.Option("--plan", "-p", metavar="PLAN", help="Of this plan.", show_default=False),
]

_SYNONYMS: Final = {
    "abort": "cancel",
    "add": "create",
    "claim": "next",
    "complete": "done",
    "continue": "resume",
    "follow": "tail",
    "get": "show",
    "instantiate": "use",
    "list": "ls",
    "new": "create",
    "unpause": "resume",
    "why": "explain",
}


class Forgiving(TyperGroup):
    """Commands that are also found by a synonym, and by how they begin where that is clear."""

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """Return the command that is meant."""
        del ctx
        word = cmd_name.casefold()
        meant = _SYNONYMS.get(word, word)
        if meant in self.commands:
            return self.commands[meant]
        begun = [name for name in self.commands if name.startswith(word)]
        return self.commands[begun[0]] if len(begun) == 1 else None
