"""Settings are read from the environment, where others have their say too."""

from __future__ import annotations

import os
from typing import Final

import pytest

from planstore.errors import SetupError
from planstore.settings import read_settings


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("PLANSTORE_"):
            monkeypatch.delenv(name)


SOMEBODY_ELSES: Final = {
    "PLANSTORE_URL": "http://planstore:8011",
    # What Kubernetes gives to each program beside a service that is called planstore.
    "PLANSTORE_SERVICE_HOST": "10.0.0.7",
    "PLANSTORE_SERVICE_PORT": "8011",
    "PLANSTORE_SERVICE_PORT_HTTP": "8011",
    "PLANSTORE_PORT_8011_TCP": "tcp://10.0.0.7:8011",
    "PLANSTORE_PORT_8011_TCP_ADDR": "10.0.0.7",
    "PLANSTORE_PORT_8011_TCP_PORT": "8011",
    "PLANSTORE_PORT_8011_TCP_PROTO": "tcp",
}


@pytest.mark.parametrize("name", SOMEBODY_ELSES)
def test_a_variable_that_is_like_no_setting_is_somebody_elses(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    plain = read_settings()
    monkeypatch.setenv(name, SOMEBODY_ELSES[name])

    assert read_settings() == plain


MISSPELT: Final = {
    "PLANSTORE_APIKEY": "PLANSTORE_API_KEY",
    "PLANSTORE_API_KEYS": "PLANSTORE_API_KEY",
    "PLANSTORE_DATABASE_URI": "PLANSTORE_DATABASE_URL",
    "PLANSTORE_MAX_BODY_BYTE": "PLANSTORE_MAX_BODY_BYTES",
    "PLANSTORE_ALLOWED_ORIGIN": "PLANSTORE_ALLOWED_ORIGINS",
    "PLANSTORE_POOLSIZE": "PLANSTORE_POOL_SIZE",
}


@pytest.mark.parametrize("name", MISSPELT)
def test_a_misspelt_setting_is_refused_with_the_nearest_name_and_without_its_value(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "s3cr3t")

    with pytest.raises(SetupError) as refused:
        read_settings()

    assert f"{name} is unknown; did you mean {MISSPELT[name]}?" in refused.value.detail
    assert "s3cr3t" not in refused.value.detail


@pytest.mark.parametrize("origins", ["*", " * ", "https://board.example,*"])
def test_the_origin_of_everybody_is_refused(monkeypatch: pytest.MonkeyPatch, origins: str) -> None:
    monkeypatch.setenv("PLANSTORE_ALLOWED_ORIGINS", origins)

    with pytest.raises(SetupError) as refused:
        read_settings()

    assert "PLANSTORE_ALLOWED_ORIGINS" in refused.value.detail
    assert "* isn't one" in refused.value.detail


@pytest.mark.parametrize("name", ["database_url", "listen_url"])
def test_a_url_of_a_database_that_is_empty_is_not_set(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"PLANSTORE_{name.upper()}", "")

    assert getattr(read_settings(), name) is None


def test_a_key_has_no_blanks_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANSTORE_API_KEY", " k3y\r\n")

    key = read_settings().api_key

    assert key is not None
    assert key.get_secret_value() == "k3y"


def test_what_is_given_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANSTORE_PORT", "1")
    monkeypatch.setenv("PLANSTORE_HOST", "localhost")

    settings = read_settings(port=2, host=None)

    assert (settings.port, settings.host) == (2, "localhost")
