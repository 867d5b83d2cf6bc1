"""A server's own plain HTTP: health, readiness, and the endpoint that pages ask before they connect."""

from __future__ import annotations

import logging
from collections.abc import Callable
from inspect import isawaitable
from typing import Any, Literal

import msgspec

from liverpc.declare.hooks import Hooks
from liverpc.dispatch.endpoint import Origins, origin_fits
from liverpc.errors import Reject
from liverpc.hub.link import HttpRequest, HttpResponse
from liverpc.wire.close import FIRST_APPLICATION_CODE

__all__ = ["State", "Web"]

log = logging.getLogger("liverpc.http")

State = Literal["starting", "ready", "draining"]

_MAX_AUTH_BODY = 65_536  # the request has no use for a body at all
_JSON = {"Content-Type": "application/json", "Cache-Control": "no-store"}


class Web:
    """Answers the paths ``/healthz``, ``/readyz`` and that of the auth endpoint (docs/protocol.md section 10).

    Args:
        auth_path: Of the auth endpoint. It answers without an ``authenticate`` hook, too: to browser clients
            a missing endpoint is a refusal for good.
        origins: Which pages may use it, as for the WebSocket.
        hooks: Of the application; ``authenticate`` is looked up at each request.
        report: ``(path, error, ctx)``: told when ``authenticate`` fails.
        state: What ``/readyz`` says.
    """

    def __init__(
        self,
        *,
        auth_path: str,
        origins: Origins,
        hooks: Hooks,
        report: Callable[[str, BaseException, Any], object],
        state: Callable[[], State],
    ) -> None:
        self._auth_path = auth_path
        self._origins = origins
        self._hooks = hooks
        self._report = report
        self._state = state

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """The answer to any request; 404 where nothing is."""
        if request.path == self._auth_path:
            return await self._auth(request)
        if request.path not in ("/healthz", "/readyz"):
            return HttpResponse(404, b"not found\n")
        if request.method != "GET":
            return HttpResponse(405, b"method not allowed\n", {"Allow": "GET, HEAD"})
        state = "ok" if request.path == "/healthz" else self._state()
        return HttpResponse(200 if state in ("ok", "ready") else 503, b'{"status":"%s"}\n' % state.encode(), _JSON)

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
