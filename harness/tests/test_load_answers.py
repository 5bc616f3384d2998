"""What the load's client and the other one make of answers that are cut off, or are none."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from harness.history import HistoryWriter, read_history
from harness.target import Target
from harness.target.client import Client, has
from harness.tests.http_stub import Request, served

#: In a process of its own: Locust patches the standard library.
CALL = """
import json, sys
from locust.env import Environment
from harness.load.api import Api, open_session
from harness.load.users import GameHost
from harness.target.client import has

assert not GameHost.insecure
errors = []
for url in sys.argv[1:]:
    session = open_session(url, Environment().events.request)
    answer = Api(session, None).send("POST", "/", "POST /", {}, expect=(200, 409), check=has("a"))
    errors.append(answer.error)
print(json.dumps(errors))
"""
HEAD = b"HTTP/1.1 200 OK\r\n"
SIZED = HEAD + b"content-length: 8\r\n\r\n"
CONFLICT = b"HTTP/1.1 409 Conflict\r\ncontent-length: 8\r\n\r\n"
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 8\r\n\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


#: What is answered, and what is to be made of it.
ANSWERS: list[tuple[bytes, str | None]] = [
    (SIZED + b'{"a": 1}', None),
    (SIZED + b'{"b": 1}', "bad answer"),
    (SIZED + b'{"a": 1,', "bad answer"),
    (HEAD + b"content-length: 32768\r\n\r\n" + b"[" * 16384 + b"]" * 16384, "bad answer"),
    (CHUNKED + b'z\r\n{"a": 1}\r\n0\r\n\r\n', "bad answer"),
    (b"nonsense\r\n\r\n", "bad answer"),
    (b"", "connection reset"),
    (HEAD + b"content-le", "connection reset"),
    (SIZED, "connection reset"),
    (SIZED + b'{"a":', "connection reset"),
    (CHUNKED + b'8\r\n{"a":', "connection reset"),
    # What is expected is a success, whatever its number.
    (CONFLICT + b'{"a": 1}', None),
    (CONFLICT + b'{"b": 1}', "bad answer"),
    (CONFLICT + b'{"a":', "connection reset"),
    (UNAVAILABLE + b'{"a": 1}', "http 503"),
    (UNAVAILABLE + b'{"a":', "connection reset"),
]


@contextmanager
def answering(data: bytes) -> Iterator[str]:
    """Take a connection, answer its request with ``data`` and close it."""

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def load_finds(*urls: str) -> list[str | None]:
    """Return the error that the load's client finds at each address."""
    command = [sys.executable, "-c", CALL, *urls]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    found: list[str | None] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here to make a certificate")
def test_the_load_tells_nobody_its_secrets_whose_certificate_nobody_vouches_for(tmp_path: Path) -> None:
    make = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1 -keyout key.pem -out cert.pem"
    )
    subprocess.run(make.split(), cwd=tmp_path, check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    heard: list[bytes] = []

    def answer() -> None:
        with suppress(OSError), server.wrap_socket(listener.accept()[0], server_side=True) as connection:
            heard.append(connection.recv(65536))
            connection.sendall(SIZED + b'{"a": 1}')

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=answer, daemon=True).start()
        (error,) = load_finds(f"https://127.0.0.1:{listener.getsockname()[1]}")
    assert error == "bad certificate"
    assert heard == []


def test_the_load_finds_that_an_answer_that_is_cut_off_is_no_bad_one() -> None:
    with ExitStack() as stack:
        urls = [stack.enter_context(answering(data)) for data, _ in ANSWERS]
        found = dict(zip([data for data, _ in ANSWERS], load_finds(*urls), strict=True))
    assert found == dict(ANSWERS)


#: urllib3 takes a head that is cut off for a whole one.
@pytest.mark.parametrize(("data", "error"), [one for one in ANSWERS if not one[0].endswith(b"content-le")])
def test_so_does_the_other_client_and_records_it(data: bytes, error: str | None, tmp_path: Path) -> None:
    with HistoryWriter(tmp_path, "test", "run") as history, answering(data) as url:
        target = Target(url, service_role_key="-", cron_secret="-", pubnub_subscribe_key="-")
        with Client(target, "somebody", history) as client:
            answer = client.call("GET", "/games?id=eq.7", expect=(200, 409), check=has("a"), game="7")
    assert answer.error == error
    (row,) = read_history(tmp_path).table.to_pylist()
    assert (row["kind"], row["name"], row["actor"], row["game"]) == ("http", "GET /games", "somebody", "7")
    assert (row["ok"], row["error"], row["value"]) == (error is None, error, answer.status)


def test_a_client_takes_no_other_login_from_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    asked: list[Request] = []
    with served(lambda request: (200, asked.append(request))) as url:
        target = Target(url, service_role_key="key", cron_secret="-", pubnub_subscribe_key="-")
        with Client(target, "somebody") as client:
            assert client.call("GET", "/").ok
    assert asked[0].headers["authorization"] == "Bearer key"
