"""Answers requests on the HTTP port, until it is drained and closed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from cvserve.errors import CvserveError, InvalidInput, Overloaded, Unauthenticated, Unavailable
from cvserve.serving.errors import INTERNAL, error_json, status_of, text_of
from cvserve.serving.security import http_context
from cvserve.serving.settings import ServerSettings
from cvserve.serving.transport.http.bodies import Bodies
from cvserve.serving.transport.interceptor import REQUEST_ID, Interceptor, RequestContext
from cvserve.serving.transport.protocol import HttpAnswer, HttpRequest, HttpRoutes

_LOG = logging.getLogger(__name__)
_PROTOCOL_LOG = logging.getLogger(f"{__name__}.protocol")

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

LINGERING_SECONDS = 5.0
"""Seconds for which the rest of a refused body is still read, so that its sender can read the error."""

CUT_OFF_SECONDS = 0.1
"""Seconds that a request whose time is over gets to end. aiohttp takes 0 as no limit."""

_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type, Authorization",
}


class HttpServer:
    """Answers the routes of the protocols, Prometheus, `/healthz` and `/readyz` on one port. Runs on the event loop."""

    def __init__(
        self,
        settings: ServerSettings,
        routes: Sequence[HttpRoutes],
        *,
        interceptor: Interceptor,
        threads: Executor,
        listening: socket.socket,
        metrics: Callable[[], bytes] = lambda: b"",
        not_ready: Callable[[], str] = lambda: "",
    ) -> None:
        """
        Args:
            routes: the routes of the protocols; the first one whose prefix fits a path answers.
            threads: unpack large bodies.
            listening: the bound socket.
            metrics: returns the text for Prometheus; called on another thread than the loop's.
            not_ready: returns the reason why the server takes no requests; empty if it does.
        """
        self._settings = settings
        self._routes = tuple(routes)
        self._interceptor = interceptor
        self._metrics = metrics
        self._not_ready = not_ready
        self._socket = listening
        self._bodies = Bodies(settings.max_message_bytes, settings.max_http_bytes, settings.http_read_seconds, threads)
        self._draining = False
        self._active = 0
        self._idle = asyncio.Event()
        self.port = 0

    async def start(self) -> int:
        """Listens, and returns the port.

        Raises:
            NotFound, InvalidInput: certificates that cannot be used.
        """
        wanted = self._settings.tls
        tls = http_context(wanted) if wanted is not None and wanted.http else None
        # aiohttp's low-level server is enough, since protocols match their paths themselves.
        self._connections = web.Server(
            self._handle,
            handler_cancellation=True,
            access_log=None,
            logger=_protocol_log(),
            auto_decompress=False,
            keepalive_timeout=self._settings.http_idle_seconds,
            lingering_time=LINGERING_SECONDS,
        )
        self._server = await asyncio.get_running_loop().create_server(
            self._connections,
            sock=self._socket,
            backlog=1024,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else 10.0,
        )
        self.port = int(self._socket.getsockname()[1])
        return self.port

    def drain(self) -> None:
        """Refuses new requests from now on, and closes each connection after its answer."""
        self._draining = True

    async def stop(self, seconds: float = 0.0) -> None:
        """Closes the port. Called after `drain`.

        Args:
            seconds: the time for answers that are being written.
        """
        self._draining = True
        self._server.close()
        # Connections without a request are closed now.
        self._connections.pre_shutdown()
        ends_at = asyncio.get_running_loop().time() + seconds
        with contextlib.suppress(asyncio.TimeoutError):
            while self._active and (remaining := ends_at - asyncio.get_running_loop().time()) > 0:
                self._idle.clear()
                await asyncio.wait_for(self._idle.wait(), remaining)
        await self._connections.shutdown(CUT_OFF_SECONDS)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._active += 1
        try:
            response = await self._answer(request)
            response.headers["Server"] = "cvserve"  # hides the versions of Python and aiohttp
            if self._draining:
                response.force_close()
            # Written here rather than by the caller, so that a drain waits for it.
            await response.prepare(request)
            await response.write_eof()
            return response
        finally:
            self._active -= 1
            if not self._active:
                self._idle.set()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        path = request.rel_url.raw_path
        for routes in self._routes:
            if path[: len(routes.prefix)].lower() == routes.prefix:
                if self._settings.http_cors and request.method == "OPTIONS":
                    return web.Response(headers=_CORS)
                response = await self._answer_for(routes, request, path)
                if self._settings.http_cors:
                    response.headers.update(_CORS)
                return response
        if request.method in ("GET", "HEAD"):
            if path == "/healthz":
                return web.Response(text="alive\n")
            if path == "/readyz":
                return self._readiness()
            if path == self._settings.metrics_path:
                # On a thread: the text of many models takes longer than a request may wait for the loop.
                text = await asyncio.get_running_loop().run_in_executor(None, self._metrics)
                return web.Response(body=text, headers={"Content-Type": METRICS_TYPE})
        return _json_response(error_json(f"Not found: {request.method} {path}"), 404)

    def _readiness(self) -> web.Response:
        why_not = "draining" if self._draining else self._not_ready()
        return web.Response(text=f"{why_not or 'ready'}\n", status=503 if why_not else 200)

    async def _answer_for(self, routes: HttpRoutes, request: web.BaseRequest, path: str) -> web.Response:
        context = self._interceptor.begin(
            "REST",
            "inference",
            lambda: [(name.lower(), value) for name, value in request.headers.items()],
            lambda: request.remote or "",
        )
        try:
            answer = await self._ask(routes, context, request, path)
        except CvserveError as error:
            context.end(None, status_of(error).grpc, error)
            return _refusal(routes, error, context)
        except (asyncio.CancelledError, ConnectionError) as error:
            context.end(None, "CANCELLED", error)
            raise
        except Exception as error:  # noqa: BLE001 - the client gets 500, the log gets the traceback
            _LOG.exception("%s failed", context.api)
            context.end(None, INTERNAL.grpc, error)
            return _refusal(routes, error, context)
        context.end(answer.version, "OK")
        response = web.Response(body=answer.body, content_type=answer.content_type, headers=answer.headers)
        if context.has_own_id:
            response.headers[REQUEST_ID] = context.request_id
        return response

    async def _ask(
        self, routes: HttpRoutes, context: RequestContext, request: web.BaseRequest, path: str
    ) -> HttpAnswer:
        call = routes.route(HttpRequest(request.method, path, request.headers))
        context.api, context.right = f"REST {call.method}", call.right
        context.allow(call.model)
        if not call.reads_body:
            return await call.answer(b"", math.inf)
        if self._draining:
            raise Unavailable("the server is shutting down")
        with self._bodies.open(request) as body:
            data = await body.read()
            deadline = asyncio.get_running_loop().time() + self._settings.http_timeout_seconds
            return await call.answer(data, deadline)


def _refusal(routes: HttpRoutes, error: BaseException, context: RequestContext) -> web.Response:
    """Returns the answer to a request that failed."""
    status = status_of(error)
    if status is INTERNAL and isinstance(error, CvserveError):
        _LOG.error("%s", error)
    response = _json_response(routes.error(text_of(error)), status.http)
    response.headers[REQUEST_ID] = context.request_id
    if isinstance(error, Overloaded):
        response.headers["Retry-After"] = str(math.ceil(error.retry_after))
    elif isinstance(error, Unavailable):
        response.headers["Retry-After"] = "1"
    elif isinstance(error, Unauthenticated):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _json_response(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")


def _protocol_log() -> logging.Logger:
    """Returns aiohttp's log, without the tracebacks of requests that are not HTTP, which get 400."""

    def ours(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, HttpProcessingError | web.RequestPayloadError | InvalidInput)

    for old in list(_PROTOCOL_LOG.filters):
        _PROTOCOL_LOG.removeFilter(old)
    _PROTOCOL_LOG.addFilter(ours)
    return _PROTOCOL_LOG
