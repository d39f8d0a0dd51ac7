"""Sending over TLS: who answers has to be the one that the URL names."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from planstore.services.sending import Sender

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for hooks.invalid, with its key, and signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    made, public = tmp_path / "certificate.pem", tmp_path / "public.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    subprocess.run(
        [
            *(*command.split(), "-keyout", str(made), "-out", str(public)),
            *("-subj", "/CN=hooks.invalid", "-addext", "subjectAltName=DNS:hooks.invalid"),
        ],
        check=True,
        capture_output=True,
    )
    made.write_bytes(made.read_bytes() + public.read_bytes())
    return made


@asynccontextmanager
async def listening(certificate: Path) -> AsyncGenerator[int]:
    """Answer 204 to everything; gives the port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(answer, "127.0.0.1", ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_certificate_must_be_for_the_name_and_by_somebody_trusted(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(_host: str, port: int, **_: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    trusting, stranger = Sender(allow_private=True), Sender(allow_private=True)
    async with listening(certificate) as port:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        url = f"https://hooks.invalid:{port}/"
        right = await trusting.send(url, body=b"{}", headers={})
        wrong = await trusting.send(url.replace("hooks", "other"), body=b"{}", headers={})
        monkeypatch.delenv("SSL_CERT_FILE")
        unknown = await stranger.send(url, body=b"{}", headers={})
    await stranger.close()
    await trusting.close()
    assert (right.status, right.error) == (204, None)
    assert wrong.status is None
    assert "Hostname mismatch" in (wrong.error or "")
    assert unknown.status is None
    assert "CERTIFICATE_VERIFY_FAILED" in (unknown.error or "")
