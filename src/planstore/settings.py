"""The settings: every ``PLANSTORE_*`` variable, read once, by the faces only."""

from __future__ import annotations

import difflib
import os
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from planstore.errors import SetupError
from planstore.logs import LogFormat, LogLevel
from planstore.models.retention import Kept

PREFIX: Final = "PLANSTORE_"

Names = Annotated[frozenset[str], NoDecode]
"""A comma-separated list."""


class Settings(BaseSettings):
    """How a server runs. Each field is the environment variable ``PLANSTORE_{FIELD}``."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    database_url: SecretStr | None = None
    """`postgresql://user:password@host:5432/database`; the embedded PostgreSQL if left out."""
    listen_url: SecretStr | None = None
    """Where to listen for notifications if a pooler stands between, which passes none on: the
    database itself, as `database_url` would name it; the same as that if left out."""
    pooler: Literal["none", "transaction"] = "none"
    """`transaction` where a pooler such as pgbouncer hands out connections per transaction."""
    pool_size: Annotated[int, Field(ge=1, le=1_000)] = 16
    """How many connections to the database at most."""
    data_dir: Path | None = None
    """Where the embedded PostgreSQL keeps its data; the user's data directory if left out."""
    pg_bin: Path | None = None
    """The directory of the programs `postgres` and `initdb` to use for the embedded PostgreSQL."""
    redis_url: SecretStr | None = None
    """`redis://user:password@host:6379/0`, or `rediss://` for TLS: where events are passed on."""
    redis_stream_length: Annotated[int, Field(ge=1)] = 100_000
    """About how many events the stream `planstore:events` in Redis keeps."""
    webhooks_allow_private: bool = False
    """Whether webhooks may lead to addresses that aren't on the internet: this machine, private
    networks and links. Whoever may make webhooks can reach all of them then."""
    host: str = "127.0.0.1"
    """The address to listen on."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8011
    """The port to listen on; 0 takes any free one."""
    api_key: SecretStr | None = None
    """The key that each request must bear as `X-API-Key` or `Authorization: Bearer`."""
    allow_anonymous: bool = False
    """Listen on other addresses than loopback though there is no API key."""
    allowed_origins: Names = frozenset()
    """Origins from which browsers may send requests, separated by commas."""
    allowed_hosts: Names = frozenset()
    """Further host names of a server that listens on loopback without an API key."""
    max_body_bytes: Annotated[int, Field(ge=1_024)] = 8 * 1024 * 1024
    """How large the body of a request may be."""
    max_batch_body_bytes: Annotated[int, Field(ge=1_024)] = 256 * 1024 * 1024
    """How large the body of a batch or an import may be."""
    max_steps: Annotated[int, Field(ge=1)] = 10_000
    """How many steps a plan may have."""
    max_description: Annotated[int, Field(ge=1)] = 100_000
    """How many characters a description may have."""
    max_json_depth: Annotated[int, Field(ge=1, le=150)] = 64
    """How deep free JSON may be nested."""
    max_limit: Annotated[int, Field(ge=1)] = 1_000
    """How many items a list may be asked for."""
    events_kept_days: Annotated[int, Field(ge=0, le=36_500)] = 90
    """How long the events of a plan that has ended are kept, since its last one; 0 keeps them."""
    plans_kept_days: Annotated[int, Field(ge=0, le=36_500)] = 0
    """How long a plan that has ended is kept, since anything has happened to it; 0 keeps it."""

    log_level: LogLevel = "info"
    """How much is logged: `debug`, `info` (a line for each request), `warning` or `error`."""
    log_format: LogFormat = "auto"
    """How it is written: `human`, `json`, or `auto`: human on a terminal, JSON elsewhere."""

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("allowed_origins", "allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        # Browsers write names in lower case, and an origin without a slash at its end.
        return (
            [part.strip().rstrip("/").lower() for part in value.split(",") if part.strip()]
            if isinstance(value, str)
            else value
        )

    @field_validator("allowed_origins")
    @classmethod
    def _no_wildcard(cls, value: frozenset[str]) -> frozenset[str]:
        if "*" in value:
            raise ValueError("each origin is named, as in https://board.example; * isn't one")
        return value

    @field_validator("database_url", "listen_url", "redis_url", mode="before")
    @classmethod
    def _empty_is_none(cls, value: Any) -> Any:
        return None if value == "" else value

    @field_validator("api_key", mode="before")
    @classmethod
    def _stripped(cls, value: Any) -> Any:
        # A key that is read from a file often has a newline at its end.
        if isinstance(value, str) and not (value := value.strip()):
            raise ValueError("it is empty; leave it out to ask for no key")
        return value

    @property
    def kept(self) -> Kept:
        """How long events and plans are kept."""
        return Kept(events=_days(self.events_kept_days), plans=_days(self.plans_kept_days))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def _days(number: int) -> timedelta | None:
    return timedelta(days=number) if number else None


_ELSEWHERE: Final = frozenset({"PLANSTORE_URL"})
"""Variables of the same prefix that other programs read."""


_NEAR: Final = 0.85
"""How like a setting a name must be to count as a misspelt one (`difflib`'s ratio)."""


def read_settings(**given: Any) -> Settings:
    """Read the settings from the environment; ``given`` ones that aren't None come first.

    Raises:
        SetupError: a variable's name is misspelt, or its value can't be used.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields} | _ELSEWHERE
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known:
            # What is like no setting is somebody else's: a cluster may give its programs the
            # addresses of a service that is called planstore.
            for near in difflib.get_close_matches(name, known, n=1, cutoff=_NEAR):
                raise SetupError(
                    f"The environment variable {name} is unknown; did you mean {near}?"
                )
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        faults = "; ".join(
            f"{PREFIX}{str(detail['loc'][0]).upper()}: {detail['msg']}"
            for detail in error.errors(include_url=False, include_input=False)
        )
        raise SetupError(f"The settings can't be used: {faults}") from None
