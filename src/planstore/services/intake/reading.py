"""Reading a file of any format: either all its faults, or a plan that can be made."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Final

from planstore.models.faults_found import Faults
from planstore.models.intake import ImportFormat
from planstore.services.intake import llm, markdown, ported, taskmaster, wfformat
from planstore.services.intake.gathering import Gathering

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from planstore.models.fields import Limits
    from planstore.services.intake.gathering import Gathered

_READERS: Final[Mapping[ImportFormat, Callable[[IO[bytes], Gathering], None]]] = {
    ImportFormat.LLM: llm.read,
    ImportFormat.TASKMASTER: taskmaster.read,
    ImportFormat.MARKDOWN: markdown.read,
    ImportFormat.WFFORMAT: wfformat.read,
    ImportFormat.PLANSTORE: ported.read,
}

_WITHOUT_TASKS: Final = {
    ImportFormat.LLM: 'there is no task; {"tasks": […]} is expected, as GET /schemas/plan says',
    ImportFormat.TASKMASTER: "there is no task; they are expected in the list `tasks` of each tag",
    ImportFormat.MARKDOWN: "there is no item that can be checked, such as `- [ ] boil water`",
    ImportFormat.WFFORMAT: "there is no task; they are expected in `workflow.specification.tasks`",
}
"""What is said where there are none; only what PlanStore wrote itself may be a plan without."""


def read(file: IO[bytes], kind: ImportFormat, *, limits: Limits) -> Gathered:
    """Read a file from where it stands to its end; takes long, and is to be done beside the loop.

    Raises:
        MalformedBody: it isn't JSON, or not text.
        InvalidInput: it has faults; up to 1,000 of them are named at once.
        DependencyCycle: all of these are that tasks would wait for each other.
    """
    faults = Faults("the file has", missing="it is required, and isn't given")
    gathering = Gathering(faults, limits)
    try:
        _READERS[kind](file, gathering)
        if not len(gathering) and kind in _WITHOUT_TASKS:
            faults.add("", _WITHOUT_TASKS[kind])
        return gathering.finish()
    except BaseException:
        gathering.close()
        raise
