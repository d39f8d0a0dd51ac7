"""Signatures by which a receiver knows who has sent something: Standard Webhooks 1.0.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hmac
import secrets
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import AfterValidator, Field

from planstore.models.fields import unshown

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

PREFIX: Final = "whsec_"
"""What stands before a secret that is written as text."""

_NEW: Final = 32
"""Bytes of a secret that is made here."""


def new_secret() -> bytes:
    return secrets.token_bytes(_NEW)


def secret_text(secret: bytes) -> str:
    """Write a secret as its receiver is given it."""
    return PREFIX + base64.b64encode(secret).decode()


def secret_bytes(text: str) -> bytes:
    """Return the secret that a checked text stands for."""
    return base64.b64decode(text.removeprefix(PREFIX))


def signature_headers(
    secrets_: Iterable[bytes], *, message_id: str, sent_at: datetime, body: bytes
) -> dict[str, str]:
    """Return the headers that sign a message, once with each secret."""
    timestamp = str(int(sent_at.timestamp()))
    signed = b".".join((message_id.encode(), timestamp.encode(), body))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{_signature(each, signed)}" for each in secrets_),
    }


def _signature(secret: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()


_WRITTEN: Final = (
    r"^whsec_(?:(?:[A-Za-z0-9+/]{4}){8,21}(?:[A-Za-z0-9+/]{2}==)?"
    r"|(?:[A-Za-z0-9+/]{4}){8,20}[A-Za-z0-9+/]{3}=)$"
)
"""24 to 64 bytes in base64, as the standard has it."""


def _sound(text: str) -> str:
    return unshown(text, _WRITTEN, "a secret is whsec_ and 24 to 64 bytes in base64")


SecretText = Annotated[str, AfterValidator(_sound), Field(json_schema_extra={"pattern": _WRITTEN})]
"""A secret that a client gives."""
