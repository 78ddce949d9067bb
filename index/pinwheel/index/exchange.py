"""Exchanges with an index over HTTP: urllib3 with our credential, and what a status means."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import urllib3

from pinwheel.errors import PinwheelError, UsageError
from pinwheel.index.client_values import IndexUnreachable, WrongCredential

ROOT = "simple/"
CONTROL = "-/"
SLOW_ANSWER_S = 120.0  # a file that the index must fetch from its upstream first


class Exchange:
    """Ask the index at `url`, its base, with an API token. Safe to share between threads."""

    def __init__(self, url: str, token: str, *, ca_file: str, timeout_s: float) -> None:
        """Raises `UsageError` when `url` is empty, no http(s) address, or carries a credential."""
        self.url = _checked(url)
        self._token = token
        self._timeout = urllib3.Timeout(connect=timeout_s, read=timeout_s)
        # a connection that was never made may be tried again whatever the method; an answer that broke off only
        # for methods that change nothing when they are repeated
        self._retries = urllib3.Retry(connect=2, read=2, redirect=0, status=0, other=0, backoff_factor=0.1)
        headers = urllib3.make_headers(basic_auth=f"__token__:{token}") if token else {}
        self._pool = urllib3.PoolManager(maxsize=8, headers=headers, ca_certs=ca_file or None)

    def json(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        fields: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> dict[str, Any]:
        """One exchange; the JSON object of a good answer. Raises what `send` and `parsed` raise."""
        return self.parsed(self.send(method, path, body=body, fields=fields, repeatable=repeatable), path)

    def send(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
        repeatable: bool = False,
        slow: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        """One exchange; any status comes back. `repeatable` says that doing it twice is the same as once, `slow` that
        the index may have to ask an upstream first. Raises `IndexUnreachable`."""
        sent = dict(self._pool.headers) | dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            sent["Content-Type"] = "application/json"
            body = json.dumps(body).encode()
        query = "?" + "&".join(f"{key}={quote(value, safe='')}" for key, value in fields.items()) if fields else ""
        again = method == "GET" or repeatable
        retries = self._retries.new(allowed_methods=None) if again else self._retries.new(read=False)
        timeout = urllib3.Timeout(connect=self._timeout.connect_timeout, read=SLOW_ANSWER_S) if slow else self._timeout
        with self._translated():
            return self._pool.request(
                method,
                self.url + path + query,
                body=body,
                headers=sent,
                retries=retries,
                timeout=timeout,
                redirect=False,  # urllib3 would send the credential along to the same host's other ports
            )

    @contextlib.contextmanager
    def opened(self, url: str) -> Iterator[urllib3.BaseHTTPResponse]:
        """The body of a file, not yet read. Raises as `send` and `parsed` do."""
        # a page may name files of another host; our credential is for our own
        ours = urlsplit(url)[:2] == urlsplit(self.url)[:2]
        with self._translated():
            answer = self._pool.request(
                "GET",
                url,
                headers=dict(self._pool.headers) if ours else {},
                retries=self._retries,
                redirect=False,
                preload_content=False,
                decode_content=False,
                timeout=urllib3.Timeout(connect=self._timeout.connect_timeout, read=SLOW_ANSWER_S),
            )
            try:
                self.refuse(answer, url.removeprefix(self.url))
                yield answer
                answer.release_conn()
            finally:
                answer.close()

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except urllib3.exceptions.HTTPError as error:
            cause = getattr(error, "reason", None) or error
            raise IndexUnreachable(
                f"the index does not answer: {_said(cause)}",
                where=self.url,
                remedy="is it running? `pinwheel index.serve` starts one; PINWHEEL_INDEX_URL or index.url names it",
            ) from error

    def parsed(self, answer: urllib3.BaseHTTPResponse, path: str) -> dict[str, Any]:
        """The JSON object of a good answer. Raises `WrongCredential`, `IndexUnreachable`, `PinwheelError`."""
        self.refuse(answer, path)
        try:
            document = json.loads(answer.data)
        except ValueError as error:
            raise self._no_index(path) from error
        if not isinstance(document, dict) or (path.startswith(CONTROL) and "api" not in document):
            raise self._no_index(path)
        return document

    def _no_index(self, path: str) -> PinwheelError:
        return PinwheelError(
            "this is no pinwheel index, or not its base address",
            where=self.url + path,
            remedy="PINWHEEL_INDEX_URL or index.url must be the base address, without simple/",
        )

    def refuse(self, answer: urllib3.BaseHTTPResponse, path: str) -> None:
        """Raise what a status outside 2xx means."""
        if answer.status < 300:
            return
        where = self.url + path
        if answer.status == 401:
            raise WrongCredential(
                "the index does not accept this credential" if self._token else "the index asks for a credential",
                where=where,
                remedy="set PINWHEEL_TOKEN or index.token_file to a token from `pinwheel index.token-create`",
            )
        body = answer.read() if answer.data is None else answer.data
        if answer.status == 404 and (path == ROOT or path.startswith(CONTROL)) and not is_ours(body):
            raise self._no_index(path)
        reason = reason_of(body)
        if answer.status == 403:
            raise WrongCredential(
                f"this token may not do that: {reason}",
                where=where,
                remedy="use a token with the scope, for the project and the environment: `pinwheel index.token-create"
                " NAME --scope … [--projects …] [--environments …]`",
            )
        if answer.status >= 500:
            raise IndexUnreachable(
                f"the index cannot do it now ({answer.status}): {reason}", where=where, remedy="see the server's log"
            )
        raise PinwheelError(f"the index refuses ({answer.status}): {reason}", where=where)


def _checked(url: str) -> str:
    """`url` with a slash at its end."""
    remedy = "set PINWHEEL_INDEX_URL, or index.url in pinwheel.toml, to something like http://127.0.0.1:8080/"
    if not url:
        raise UsageError("no index is configured", remedy=remedy)
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment:
        raise UsageError("this is not the address of an index", where=url.rpartition("@")[2], remedy=remedy)
    if "@" in parts.netloc:
        raise UsageError(
            "the address of the index carries a credential",
            where=url.rpartition("@")[2],
            remedy="put the token into PINWHEEL_TOKEN or a file named by index.token_file",
        )
    return url.rstrip("/").removesuffix("/simple") + "/"


def is_ours(body: bytes) -> bool:
    """Whether this is an answer of the control plane, which always says which version of it there is."""
    try:
        document = json.loads(body)
    except ValueError:
        return False
    return isinstance(document, dict) and "api" in document


def reason_of(body: bytes) -> str:
    """What the server says, from its JSON or as plain text, cut to a readable length."""
    text = body.decode("utf-8", "replace").strip()
    try:
        document = json.loads(text)
        text = str(document.get("error", text)) if isinstance(document, dict) else text
    except ValueError:
        pass
    return text[:2000]


def _said(error: BaseException) -> str:
    """What the operating system says, where it is its error; urllib3's words begin with one of its objects."""
    cause = error.__cause__
    return (cause.strerror if isinstance(cause, OSError) else None) or str(error)
