"""The status page, health and metrics, and an operator's halt and resume: on this machine only unless told otherwise.

Theory of operation. Every answer is computed from `daemon.status.Status` when it is asked for. Only GET and HEAD are
answered, and two POSTs that reach the core like every operator's command: ``/api/halt`` and ``/api/resume``, with the
token of the state directory in the Authorization header, which no page of another site can send. The Host header must
be an address, ``localhost`` or the configured name: a page elsewhere that points its own name at 127.0.0.1 (DNS
rebinding) gets nothing. The page loads nothing from anywhere; its one style and one script are allowed by their hashes.
"""

import base64
import errno
import ipaddress
import re
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import msgspec
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from bus.errors import ConfigError
from bus.messages import HaltLevel
from daemon.control import LEVELS, bears
from daemon.status import Status
from daemon.web.metrics import registry_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_PAGE = (Path(__file__).parent / "page.html").read_text(encoding="utf-8")
_CLOSE_AFTER_S = 2.0
_COMMANDS = ("/api/halt", "/api/resume")


def _hashes(tag: str) -> str:
    """The CSP sources that allow exactly the page's own blocks of a tag."""
    blocks = re.findall(rf"<{tag}>(.*?)</{tag}>", _PAGE, re.DOTALL)
    digests = [base64.b64encode(sha256(block.encode()).digest()).decode() for block in blocks]
    return " ".join(f"'sha256-{digest}'" for digest in digests)


HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; script-src {_hashes('script')}; style-src {_hashes('style')}; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Operators(Protocol):
    """What the two commands reach; see `daemon.control.Control`."""

    def halt(self, level: HaltLevel, source: str, operator: str, reason: str) -> None:
        """Halt now."""
        ...

    def resume(self, operator: str, reason: str) -> None:
        """Lift every halt; `ConfigError` where nobody is named or no reason is given."""
        ...


@dataclass(frozen=True, slots=True)
class Commands:
    """Who is told of an operator's commands, and the token that they need."""

    operators: Operators
    token: str


class _Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of the two commands; `level` as on the command line, of a halt alone."""

    operator: str = ""
    reason: str = ""
    level: str = "flatten"


class Server:
    """A running status server."""

    def __init__(self, runner: web.AppRunner, url: str) -> None:
        self.url = url
        self._runner = runner

    async def close(self) -> None:
        """Stop listening and end every connection. Safe to call twice."""
        await self._runner.cleanup()


def host_allowed(header: str, configured: str) -> bool:
    """Whether a Host header may be answered: an IP address, localhost, or the configured name; any port."""
    name = re.sub(r":\d{1,5}$", "", header.strip()).strip("[]").rstrip(".").lower()
    if name in {"localhost", configured.lower()}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def make_app(
    status: Status, host: str, commands: Commands | None = None, clock_s: Callable[[], float] = time.monotonic
) -> web.Application:
    """The application.

    Args:
        status: what is shown.
        host: the configured host name, for the Host check.
        commands: an operator's; None = read only.
        clock_s: monotonic seconds.
    """
    registry = registry_of(status, clock_s)

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if not host_allowed(request.headers.get("Host", ""), host):
                response: web.StreamResponse = web.Response(
                    status=421, text="this server does not answer to that name\n"
                )
            elif request.method == "POST" and commands is not None and request.path in _COMMANDS:
                response = await handler(request)
            elif request.method not in {"GET", "HEAD"}:
                response = web.Response(status=405, text="read only\n", headers={"Allow": "GET, HEAD"})
            else:
                response = await handler(request)
        except web.HTTPException as error:
            response = web.Response(status=error.status, text=f"{error.reason}\n")
        response.headers.update(HEADERS)
        response.headers["Server"] = "plimsoll"
        return response

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=_PAGE, content_type="text/html")

    async def health(_: web.Request) -> web.Response:
        found = status.health(clock_s())
        body = {
            "status": "ok" if found.ok else "degraded",
            "state": found.state,
            "reasons": found.reasons,
            "silent_s": round(found.silent_s, 1),
        }
        return _json(msgspec.json.encode(body), 200 if found.ok else 503)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def api_status(_: web.Request) -> web.Response:
        return _json(msgspec.json.encode(status.snapshot(clock_s())), 200)

    async def command(request: web.Request) -> web.Response:
        if commands is None or not bears(request.headers.get("Authorization", ""), commands.token):
            return _said(
                401, "who are you? send `Authorization: Bearer TOKEN`; it is in web-token of the state directory"
            )
        try:
            wish = msgspec.json.decode(await request.read(), type=_Wish)
        except msgspec.MsgspecError as error:
            return _said(400, f'the body is {{"operator": …, "reason": …, "level": …}}: {error}')
        if request.path == "/api/halt":
            if wish.level not in LEVELS:
                return _said(400, f"level is one of {', '.join(LEVELS)}")
            commands.operators.halt(LEVELS[wish.level], "web", wish.operator, wish.reason)
            return _said(200, f"halted ({wish.level})")
        try:
            commands.operators.resume(wish.operator, wish.reason)
        except (ConfigError, OSError) as error:
            return _said(400 if isinstance(error, ConfigError) else 500, str(error))
        return _said(200, "every halt is lifted")

    app = web.Application(middlewares=[guard], client_max_size=1024)
    app.router.add_get("/", page)
    app.router.add_get("/health", health)
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/api/status", api_status)
    for path in _COMMANDS:
        app.router.add_post(path, command)
    return app


def _said(code: int, words: str) -> web.Response:
    return _json(msgspec.json.encode({"said": words}), code)


def _json(body: bytes, code: int) -> web.Response:
    return web.Response(body=body, status=code, content_type="application/json", charset="utf-8")


async def start(status: Status, host: str = "127.0.0.1", port: int = 8080, commands: Commands | None = None) -> Server:
    """Serve the status page.

    Args:
        status: what is shown.
        host: address to listen on; 127.0.0.1 keeps it on this machine.
        port: 0 = any free port; `Server.url` says which.
        commands: an operator's; None = read only.

    Raises:
        ConfigError: the port is taken or may not be used, or the host is not one of this machine's.
    """
    runner = web.AppRunner(
        make_app(status, host, commands),
        access_log=None,
        handle_signals=False,
        shutdown_timeout=_CLOSE_AFTER_S,
        keepalive_timeout=15,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except (OSError, OverflowError) as error:
        await runner.cleanup()
        raise ConfigError(_unavailable(error, host, port)) from None
    bound = int(runner.addresses[0][1])
    shown = f"[{host}]" if ":" in host else host
    return Server(runner, f"http://{shown}:{bound}/")


def _unavailable(error: Exception, host: str, port: int) -> str:
    if isinstance(error, socket.gaierror):
        return f"web.host = {host!r} is no name or address; write 127.0.0.1 to stay on this machine"
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.EADDRINUSE:
        return f"web.port = {port} on {host} is taken; choose another, or 0 for any free port, or web.enabled = false"
    if code == errno.EADDRNOTAVAIL:
        return f"web.host = {host!r} is not an address of this machine; write 127.0.0.1"
    if code in {errno.EACCES, errno.EPERM}:
        return f"web.port = {port} may not be used by this user; choose one above 1023"
    return f"web.host = {host!r}, web.port = {port} cannot be used: {error}"
