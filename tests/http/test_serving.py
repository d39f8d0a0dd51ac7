"""How a server starts, refuses to start, and ends."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg
import pytest

from planstore.migrations import known
from planstore.settings import Settings
from tests.http.wire import done, new_plan
from tests.served import PATIENCE, command, database_of, environment, refusal, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Postgres

SECRET: Final = "s3cr3t-w0rd"


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    with database_of(postgres) as url:
        yield url


def assert_one_sentence(ended: subprocess.CompletedProcess[str], *words: str) -> str:
    """Assert that a server said what an operator can do, gave nothing away, and failed."""
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("planstore: ")
    assert "Traceback" not in line
    assert SECRET not in line
    for word in words:
        assert word in line
    return line


def test_the_port_is_the_documented_one_unless_told_otherwise() -> None:
    settings = Settings()

    assert (settings.host, settings.port) == ("127.0.0.1", 8011)


def test_a_server_announces_itself_when_it_answers(url: str) -> None:
    with serving(PLANSTORE_DATABASE_URL=url) as served:
        assert served.announced.keys() == {"url", "database", "data_dir"}
        assert served.url == f"http://127.0.0.1:{served.port}"
        assert served.announced["data_dir"] is None
        with served.client() as client:
            assert client.get("/health").status_code == 200


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_server_though_clients_are_idle_or_half_way(
    url: str, how: signal.Signals
) -> None:
    with serving(PLANSTORE_DATABASE_URL=url) as served, ExitStack() as connections:
        client = connections.enter_context(served.client())
        plan = new_plan(client)  # leaves an idle connection behind
        silent = socket.create_connection(("127.0.0.1", served.port))
        connections.enter_context(closing(silent))
        half = socket.create_connection(("127.0.0.1", served.port))
        connections.enter_context(closing(half))
        half.sendall(b"POST /plans/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        headless = socket.create_connection(("127.0.0.1", served.port))
        connections.enter_context(closing(headless))
        headless.sendall(b"GET /hea")
        assert client.get(f"/plans/{plan['id']}").status_code == 200

        told = time.monotonic()
        status = served.end(how)

        assert status == 0
        assert time.monotonic() - told < 5
        assert "Traceback" not in served.log.read_text()


def test_a_request_under_way_is_answered_before_the_end(url: str, postgres: Postgres) -> None:
    with serving(PLANSTORE_DATABASE_URL=url) as served, served.client() as client:
        plan = new_plan(client)
        content = b'{"current_step": 5}'
        with closing(socket.create_connection(("127.0.0.1", served.port))) as sock:
            head = f"PATCH /plans/{plan['id']} HTTP/1.1\r\nHost: localhost\r\n"
            sock.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode())
            assert client.get("/livez").status_code == 200  # the head has arrived by now

            served.process.send_signal(signal.SIGTERM)
            _wait_until_refused(served.port)
            sock.sendall(content)

            assert sock.recv(65_536).startswith(b"HTTP/1.1 200 OK")
        assert served.process.wait(5) == 0


def _wait_until_refused(port: int) -> None:
    deadline = time.monotonic() + 5
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return
        assert time.monotonic() < deadline


def test_a_port_that_is_taken_is_said(url: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        ended = refusal("--port", str(port), PLANSTORE_DATABASE_URL=url)

    assert_one_sentence(ended, str(port), "--port")


def test_an_address_that_is_not_here_is_said(url: str) -> None:
    for host in ("192.0.2.1", "no.such.host.invalid"):
        ended = refusal("--host", host, PLANSTORE_DATABASE_URL=url, PLANSTORE_API_KEY="k")
        assert_one_sentence(ended, host)


UNREACHABLE: Final = {
    "nobody listens": f"postgresql://user:{SECRET}@127.0.0.1:1/plans",
    "no such host": f"postgresql://user:{SECRET}@no.such.host.invalid/plans",
    "no such socket": f"postgresql://user:{SECRET}@/plans?host=/nowhere",
}


@pytest.mark.parametrize("url", UNREACHABLE.values(), ids=UNREACHABLE)
def test_a_database_that_can_not_be_reached_is_said(url: str) -> None:
    assert_one_sentence(refusal(PLANSTORE_DATABASE_URL=url), "plans", "can't be reached")


BAD_URLS: Final = {
    "another scheme": f"mysql://user:{SECRET}@localhost/plans",
    "no scheme": f"user:{SECRET}@localhost/plans",
    "a bad port": f"postgresql://user:{SECRET}@localhost:port/plans",
    "a bad host": f"postgresql://user:{SECRET}@[::1/plans",
    "a bad option": f"postgresql://user:{SECRET}@localhost/plans?sslmode=sometimes",
    "blanks": "  ",
}


@pytest.mark.parametrize("url", BAD_URLS.values(), ids=BAD_URLS)
def test_a_database_url_that_can_not_be_read_is_said(url: str) -> None:
    assert_one_sentence(refusal(PLANSTORE_DATABASE_URL=url), "PLANSTORE_DATABASE_URL")


def test_a_wrong_password_is_said(url: str) -> None:
    wrong = url.replace(url.split("@", maxsplit=1)[0].rpartition(":")[2], SECRET)
    assert wrong != url

    assert_one_sentence(refusal(PLANSTORE_DATABASE_URL=wrong), "password")


def test_an_unknown_user_is_said(url: str) -> None:
    wrong = url.replace("//planstore:", "//stranger:")
    assert wrong != url

    assert_one_sentence(refusal(PLANSTORE_DATABASE_URL=wrong), "user")


def test_an_unknown_database_is_said(postgres: Postgres) -> None:
    ended = refusal(PLANSTORE_DATABASE_URL=postgres.server.url("no_such_database"))

    assert_one_sentence(ended, "no_such_database", "no database")


def test_a_schema_that_is_newer_than_the_program_is_said(url: str) -> None:
    newer = known()[-1].version + 1

    async def make_newer() -> None:
        conn = await asyncpg.connect(url)
        await conn.execute(
            "insert into planstore.schema_migrations (version, name) values ($1, 'future')", newer
        )
        await conn.close()

    asyncio.run(make_newer())

    assert_one_sentence(
        refusal(PLANSTORE_DATABASE_URL=url), f"version {newer}", f"up to {newer - 1}"
    )


def test_a_server_for_others_needs_a_key_or_a_word(url: str) -> None:
    for host in ("0.0.0.0", "::"):
        ended = refusal("--host", host, PLANSTORE_DATABASE_URL=url)
        assert_one_sentence(ended, "PLANSTORE_API_KEY", "--allow-anonymous")

    with (
        serving("--host", "0.0.0.0", "--allow-anonymous", PLANSTORE_DATABASE_URL=url) as served,
        served.client(headers={"Host": "planstore.internal"}) as client,
    ):
        new_plan(client)


def test_other_names_of_a_server_are_told_to_it(url: str) -> None:
    with (
        serving(PLANSTORE_DATABASE_URL=url, PLANSTORE_ALLOWED_HOSTS="One.internal, two") as served,
        served.client() as client,
    ):
        for host, status in (("one.internal", 200), ("two:8011", 200), ("three", 403)):
            response = client.get("/tasks/", headers={"Host": host})
            assert response.status_code == status


def test_allowed_origins_are_told_to_it(url: str) -> None:
    origins = "https://board.example/, http://localhost:3000"
    with (
        serving(PLANSTORE_DATABASE_URL=url, PLANSTORE_ALLOWED_ORIGINS=origins) as served,
        served.client() as client,
    ):
        for origin in ("https://board.example", "http://localhost:3000"):
            response = client.post("/plans/", json={}, headers={"Origin": origin})
            done(response, 201)
            assert response.headers["Access-Control-Allow-Origin"] == origin


SETTINGS: Final = {
    "PLANSTORE_DATABSE_URL": ("x", "PLANSTORE_DATABASE_URL"),
    "PLANSTORE_APIKEY": ("x", "PLANSTORE_API_KEY"),
    "PLANSTORE_API_KEY": (" ", "PLANSTORE_API_KEY"),
    "PLANSTORE_PORT": ("eighty", "PLANSTORE_PORT"),
    "PLANSTORE_MAX_BODY_BYTES": ("-1", "PLANSTORE_MAX_BODY_BYTES"),
    "PLANSTORE_POOLER": ("session", "PLANSTORE_POOLER"),
    "PLANSTORE_ALLOWED_ORIGINS": ("https://board.example, *", "PLANSTORE_ALLOWED_ORIGINS"),
}


@pytest.mark.parametrize(("name", "value", "meant"), [(n, *v) for n, v in SETTINGS.items()])
def test_a_setting_that_can_not_be_used_is_said(name: str, value: str, meant: str) -> None:
    nowhere = {"PLANSTORE_DATABASE_URL": "postgresql://127.0.0.1:1/plans"}

    assert_one_sentence(refusal(**{**nowhere, name: value}), meant)


def test_settings_limit_what_is_asked(url: str) -> None:
    limits = {"MAX_BODY_BYTES": "2000", "MAX_STEPS": "2", "MAX_DESCRIPTION": "5", "MAX_LIMIT": "3"}
    limits["MAX_BATCH_BODY_BYTES"] = "3000"
    variables = {f"PLANSTORE_{name}": value for name, value in limits.items()}
    with serving(PLANSTORE_DATABASE_URL=url, **variables) as served, served.client() as client:
        step = {"step": 1}
        plan = new_plan(client, steps=[step] * 2)
        for response, status in (
            (client.post("/plans/", json={"steps": [step] * 3}), 422),
            (client.post("/plans/", content=b" " * 2_001), 413),
            (client.post("/tasks/batch", content=b" " * 3_000), 400),
            (client.post("/tasks/batch", content=b" " * 3_001), 413),
            (client.post("/tasks/", json={"plan_id": plan["id"], "description": "x" * 6}), 422),
            (client.get("/tasks/?limit=4"), 422),
            (client.get("/tasks/?limit=3"), 200),
        ):
            assert response.status_code == status


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A place for the data of an embedded PostgreSQL, which as root runs as somebody else."""
    home = Path(tempfile.mkdtemp(prefix="planstore-tests-"))
    home.chmod(0o755)
    yield home / "data"
    shutil.rmtree(home)


def test_two_servers_share_the_database_of_one_directory(data_dir: Path) -> None:
    with serving("--data-dir", str(data_dir)) as first, first.client() as one:
        assert first.announced["data_dir"] == str(data_dir)
        plan = new_plan(one)
        with serving("--data-dir", str(data_dir)) as second, second.client() as two:
            assert done(two.get(f"/plans/{plan['id']}")) == plan
            assert first.end(signal.SIGTERM) == 0
            changed = done(two.patch(f"/plans/{plan['id']}", json={"current_step": 2}))

            told = time.monotonic()
            assert second.end(signal.SIGINT) == 0
            assert time.monotonic() - told < 5

    with serving("--data-dir", str(data_dir)) as third, third.client() as client:
        assert done(client.get(f"/plans/{plan['id']}")) == changed


def test_a_directory_that_can_not_be_used_is_said(data_dir: Path) -> None:
    data_dir.write_text("a file")

    assert_one_sentence(refusal("--data-dir", str(data_dir)), str(data_dir))


def test_a_server_that_is_told_twice_ends_all_the_same(url: str) -> None:
    with serving(PLANSTORE_DATABASE_URL=url) as served:
        os.kill(served.process.pid, signal.SIGTERM)
        assert served.end(signal.SIGTERM) == 0


def _welcome(url: str, **variables: str) -> str:
    """Start a server for a person and return what it says when it is ready."""
    with subprocess.Popen(
        command("serve", "--port", "0"),
        stdout=subprocess.PIPE,
        text=True,
        env=environment(PLANSTORE_DATABASE_URL=url, **variables),
    ) as process:
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if "Ctrl-C" in line:
                break
        process.terminate()
        assert process.wait(PATIENCE) == 0
    return "".join(said)


def test_a_server_welcomes_whoever_starts_it_with_commands_that_work(url: str) -> None:
    said = _welcome(url)

    assert "/health" in said
    assert "/docs" in said
    assert "X-API-Key" not in said


def test_a_server_that_asks_for_a_key_welcomes_with_commands_that_bear_it(url: str) -> None:
    said = _welcome(url, PLANSTORE_API_KEY=SECRET)

    assert SECRET not in said
    assert "/docs" not in said  # a browser has no key to send
    (create,) = [line for line in said.splitlines() if "POST" in line]
    assert "$PLANSTORE_API_KEY" in create
    assert "X-API-Key: " in create or "Authorization: Bearer " in create
