"""Deleting a plan or a task."""

from __future__ import annotations

from planstore.models.fields import Record


class Deletion(Record):
    """How to delete something."""

    force: bool = False
    """Whether it is done in spite of what stands in the way."""
