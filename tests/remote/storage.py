"""A real S3 server on a port of this machine, that fails when it is told to and counts what it sends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

BUCKET = "bucket"
CODES = {403: "AccessDenied", 404: "NoSuchKey", 429: "SlowDown", 503: "ServiceUnavailable"}


@dataclass(frozen=True)
class Request:
    """What a client asked for: its number, method, path below the host, and range header."""

    number: int
    method: str
    path: str
    range: str


class Storage:
    """moto's server with faults.

    Attributes:
        fault: says of a request what goes wrong with it: a status, "drop", "cut" (half of the body), or None.
        requests: all that were answered or failed since `reset`.
        sent: bytes of bodies since `reset`.
    """

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True)
        self._server.log = self._server.RequestHandlerClass.log = lambda *_: None
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._lock = threading.Lock()
        self.reset()
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def reset(self) -> None:
        """Forget faults and counts."""
        self.fault: Callable[[Request], str | int | None] = lambda _: None
        self.requests: list[Request] = []
        self.sent = 0

    def empty(self) -> None:
        """Remove all objects."""
        for key in self.names():
            self.client.delete_object(Bucket=BUCKET, Key=key)

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def put(self, source: Path, key: str) -> str:
        """Upload a file, or all files below a folder; returns the URL."""
        for path in [source] if source.is_file() else sorted(source.rglob("*")):
            if path.is_file():
                name = key if path == source else f"{key}/{path.relative_to(source).as_posix()}"
                self.client.put_object(Bucket=BUCKET, Key=name, Body=path.read_bytes())
        return f"s3://{BUCKET}/{key}"

    def get(self, key: str) -> bytes:
        """The content of an object."""
        return self.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def fetched(self, name: str) -> list[Request]:
        """Requests since `reset` for the content of objects whose name ends so."""
        return [one for one in self.requests if one.method == "GET" and one.path.endswith(name)]

    def names(self, prefix: str = "") -> list[str]:
        """Names of the objects below a prefix."""
        found = self.client.list_objects_v2(Bucket=BUCKET, Prefix=prefix)
        return [entry["Key"] for entry in found.get("Contents", [])]

    @cached_property
    def client(self) -> Any:
        """A client of another library than the one that is tested."""
        import boto3

        return boto3.client("s3", endpoint_url=self.url)

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with self._lock:
            asked = Request(
                len(self.requests),
                environ["REQUEST_METHOD"],
                environ["PATH_INFO"],
                environ.get("HTTP_RANGE", ""),
            )
            self.requests.append(asked)
        fault = self.fault(asked)
        if fault == "drop":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError
        if isinstance(fault, int):
            start_response(f"{fault} fault", [("Content-Type", "application/xml")])
            said = f"<?xml version='1.0'?><Error><Code>{CODES[fault]}</Code><Message>no</Message></Error>"
            return [b"" if asked.method == "HEAD" else said.encode()]
        body = self._app(environ, start_response)
        return self._counted(body, environ["werkzeug.socket"] if fault == "cut" else None)

    def _counted(self, body: Iterable[bytes], cut: socket.socket | None) -> Iterator[bytes]:
        for part in body:
            if cut is not None:
                yield part[: len(part) // 2]
                cut.shutdown(socket.SHUT_RDWR)
                raise ConnectionResetError
            with self._lock:
                self.sent += len(part)
            yield part


def once(wanted: Callable[[Request], bool], fault: str | int) -> Callable[[Request], str | int | None]:
    """A fault of the first request that is wanted."""
    seen: list[int] = []

    def choose(request: Request) -> str | int | None:
        if seen or not wanted(request):
            return None
        seen.append(request.number)
        return fault

    return choose


@contextmanager
def running() -> Iterator[Storage]:
    """A server with an empty bucket."""
    storage = Storage()
    try:
        storage.client.create_bucket(Bucket=BUCKET)
        yield storage
    finally:
        storage.close()
