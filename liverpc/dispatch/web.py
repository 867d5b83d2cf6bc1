"""A server's own plain HTTP: health, readiness, metrics, and the endpoint that pages ask before they connect."""

from __future__ import annotations

import logging
from collections.abc import Callable
from inspect import isawaitable
from typing import Any, Literal

import msgspec

from liverpc.declare.hooks import Hooks
from liverpc.dispatch.endpoint import Origins, origin_fits
from liverpc.dispatch.metrics import MetricsSink
from liverpc.errors import Reject
from liverpc.hub.gatekeeper import Gatekeeper, from_this_machine
from liverpc.hub.link import HttpRequest, HttpResponse
from liverpc.wire.close import FIRST_APPLICATION_CODE

__all__ = ["State", "Web"]

log = logging.getLogger("liverpc.http")

State = Literal["starting", "ready", "draining"]

_MAX_AUTH_BODY = 65_536  # the request has no use for a body at all
_JSON = {"Content-Type": "application/json", "Cache-Control": "no-store"}


class Web:
    """Answers ``/healthz``, ``/readyz``, ``/metrics`` and the auth endpoint (docs/protocol.md section 10).

    Args:
        auth_path: Of the auth endpoint. It answers without an ``authenticate`` hook, too: to browser clients
            a missing endpoint is a refusal for good.
        origins: Which pages may use it, as for the WebSocket.
        hooks: Of the application; ``authenticate`` is looked up at each request.
        report: ``(path, error, ctx)``: told when ``authenticate`` fails.
        state: What ``/readyz`` says.
        gatekeeper: Of ``/metrics``.

    Attributes:
        sink: Answers ``/metrics``; None: nothing does.
    """

    def __init__(
        self,
        *,
        auth_path: str,
        origins: Origins,
        hooks: Hooks,
        report: Callable[[str, BaseException, Any], object],
        state: Callable[[], State],
        gatekeeper: Gatekeeper,
    ) -> None:
        self._auth_path = auth_path
        self._origins = origins
        self._hooks = hooks
        self._report = report
        self._state = state
        self._gatekeeper = gatekeeper
        self.sink: MetricsSink | None = None

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """The answer to any request; 404 where nothing is."""
        if request.path == self._auth_path:
            return await self._auth(request)
        sink = self.sink if request.path == "/metrics" else None
        if request.path not in ("/healthz", "/readyz") and sink is None:
            return HttpResponse(404, b"not found\n")
        if request.method != "GET":
            return HttpResponse(405, b"method not allowed\n", {"Allow": "GET, HEAD"})
        if sink is not None:
            return self._refuses(request) or _metrics(sink)
        state = "ok" if request.path == "/healthz" else self._state()
        return HttpResponse(200 if state in ("ok", "ready") else 503, b'{"status":"%s"}\n' % state.encode(), _JSON)

    def _refuses(self, request: HttpRequest) -> HttpResponse | None:
        """Why somebody does not get the metrics. A program on this machine does, and so does who has a token."""
        asks = "authorization" in request.headers
        if not asks and from_this_machine(request.headers, request.address):
            return None
        if self._gatekeeper.exhausted(request.address):
            return HttpResponse(429, b"too many refused tokens from here; wait a minute\n")
        token = self._gatekeeper.holder(request.headers, request.address) if asks else None
        if token is None:
            text = b"the metrics need a token of Inspect(tokens=...), as Authorization: Bearer\n"
            return HttpResponse(401, text, {"WWW-Authenticate": "Bearer", "Cache-Control": "no-store"})
        if "*" not in token.topics:
            return HttpResponse(403, b"this token opens some topics only, and metrics are about all\n")
        return None

    async def _auth(self, request: HttpRequest) -> HttpResponse:
        origin = request.headers.get("origin")
        welcome = origin is not None and origin_fits(self._origins, origin, request.headers.get("host", ""))
        if request.method == "POST":
            answer = await self._post(request, welcome=welcome)
        elif request.method != "OPTIONS":
            answer = HttpResponse(405, b"method not allowed\n", {"Allow": "POST, OPTIONS"})
        elif welcome:
            permitted = {"Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": "x-requested-with"}
            answer = HttpResponse(204, headers=permitted)
        else:
            answer = HttpResponse(403, b"this Origin may not connect; list it in LiveServer(origins=[...])\n")
        headers = {"Cache-Control": "no-store", "Vary": "Origin"} | answer.headers
        if welcome and origin is not None:
            headers |= {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true"}
        return msgspec.structs.replace(answer, headers=headers)

    async def _post(self, request: HttpRequest, *, welcome: bool) -> HttpResponse:
        # Other sites can make a browser send a POST with its cookies, but not with any of these.
        by_script = request.headers.get("x-requested-with", "").lower() == "xmlhttprequest"
        if not (by_script or welcome or request.headers.get("sec-fetch-site") == "same-origin"):
            return HttpResponse(403, b"nothing shows that this request is not forged by another site\n")
        if len(request.body) > _MAX_AUTH_BODY:
            return HttpResponse(413, b"the body is too large\n")
        if self._hooks.authenticate is None:
            return HttpResponse(204)
        try:
            verdict = self._hooks.authenticate(request)
            if isawaitable(verdict):
                verdict = await verdict
            if verdict is None or verdict is True:
                return HttpResponse(204)
            if verdict is False:
                return HttpResponse(401, b"not authenticated\n")
            if isinstance(verdict, HttpResponse):
                return verdict
            raise TypeError(f"authenticate returns None, a bool or an HttpResponse, not {type(verdict).__name__}")
        except Reject as reject:
            status = reject.close_code - FIRST_APPLICATION_CODE
            return HttpResponse(status, f"{reject.reason or reject.code}\n".encode())
        except Exception as error:
            log.exception("the hook authenticate failed")
            self._report("__auth__", error, None)
            return HttpResponse(500, b"internal error\n")


def _metrics(sink: MetricsSink) -> HttpResponse:
    try:
        return HttpResponse(200, sink.render(), {"Content-Type": sink.content_type, "Cache-Control": "no-store"})
    except Exception:
        log.exception("the metrics sink failed")
        return HttpResponse(500, b"internal error\n")
