"""Real receivers of notices on this machine: a web server and an SMTP server that can be told to misbehave."""

import asyncio
import ssl
import warnings
from pathlib import Path

from aiohttp import web
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from adapters.notify import CHANNELS
from adapters.notify.contract import Notice, Place

SECRET_WORD = "s3cr3t-w0rd-of-the-trade"
KEY = f"key-{SECRET_WORD}-0123456789"


def notice(n=0, **fields):
    values = {"id": f"id-{n}", "event": "raised", "rule": "disk", "subject": "/data", "severity": "critical",
              "value": "12 MB free", "limit": "1000 MB", "advice": "make room now", "run": "0007", "mode": "demo",
              "ts_ns": 1_700_000_000_000_000_000 + n}  # fmt: skip
    return Notice(**(values | fields))


def place(folder, lines=None):
    return Place(folder=folder, note=(lambda _: None) if lines is None else lines.append)


def private(path: Path, text: str) -> str:
    """A file that only we may read; its name."""
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def settings_of(name, folder, server):
    """A channel's settings that lead to a server on this machine, its secrets in files."""
    kind = CHANNELS[name].Settings
    url = private(folder / "url", getattr(server, "url", ""))
    match name:
        case "webhook":
            more = {"url_file": url, "key_file": private(folder / "key", KEY)}
        case "slack":
            more = {"url_file": url}
        case "telegram":
            more = {"token_file": private(folder / "token", SECRET_WORD), "chat_id": "-1001",
                    "api_url": f"http://127.0.0.1:{server.port}"}  # fmt: skip
        case "email":
            more = {"host": "127.0.0.1", "port": server.port, "security": "none", "sender": "plimsoll@localhost",
                    "recipients": ("ada@localhost",), "user": "ada",
                    "password_file": private(folder / "password", SECRET_WORD)}  # fmt: skip
        case _:
            more = {}
    return kind(enabled=True, **more)


class Receiver:
    """A web server that answers each request by the next of its behaviours, the last one for ever.

    A behaviour is a status, a (status, headers) or (status, headers, body), ``hang``, or ``reset``.
    """

    def __init__(self, *behaviours):
        self.behaviours = list(behaviours) or [200]
        self.requests = []
        self.released = asyncio.Event()

    async def __aenter__(self):
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/hook/{SECRET_WORD}"
        return self

    async def __aexit__(self, *_):
        self.released.set()
        await self._runner.cleanup()

    @property
    def bodies(self):
        return [body for _, _, body in self.requests]

    async def _answer(self, request):
        body = await request.read()
        self.requests.append((request.path, dict(request.headers), body))
        behaviour = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
        if behaviour == "hang":
            await self.released.wait()
            return web.Response()
        if behaviour == "reset":
            request.transport.abort()
            return web.Response()
        status, headers, text = (behaviour, {}, "") if isinstance(behaviour, int) else (*behaviour, "")[:3]
        return web.Response(status=status, headers=headers, text=text)


class _Counted(SMTP):
    """Lets its mailbox know when a client is gone."""

    def connection_lost(self, error):
        self.event_handler.lost += 1
        super().connection_lost(error)


class Mailbox:
    """An SMTP server that wants a login, and answers each mail by the next of its behaviours.

    A behaviour is an SMTP answer such as ``250 OK`` or ``451 later``, ``hang`` or ``reset``.
    """

    def __init__(self, *behaviours, tls: ssl.SSLContext | None = None, implicit=False, password=SECRET_WORD):
        self.behaviours = list(behaviours) or ["250 OK"]
        self.mails, self.logins, self.encrypted, self.lost = [], [], [], 0
        self._tls, self._implicit, self._password = tls, implicit, password
        self._released = asyncio.Event()

    async def __aenter__(self):
        def server():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # it does not know that TLS is there from the first byte
                return _Counted(
                    self, hostname="localhost", authenticator=self._login, auth_required=self._tls is not None,
                    auth_require_tls=not self._implicit and self._tls is not None,
                    tls_context=None if self._implicit else self._tls,
                    require_starttls=self._tls is not None and not self._implicit,
                )  # fmt: skip

        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(server, "127.0.0.1", 0, ssl=self._tls if self._implicit else None)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._released.set()
        self._server.close()
        await self._server.wait_closed()

    def _login(self, server, session, envelope, mechanism, data):
        self.logins.append(data.login.decode() if isinstance(data, LoginPassword) else "")
        good = isinstance(data, LoginPassword) and data.password.decode() == self._password
        return AuthResult(success=good, handled=False)

    async def handle_DATA(self, server, session, envelope):
        self.mails.append(envelope)
        self.encrypted.append(session.ssl is not None or self._implicit)
        behaviour = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
        if behaviour == "hang":
            await self._released.wait()
            return "421 bye"
        if behaviour == "reset":
            server.transport.abort()
            return "421 bye"
        return behaviour


class Waits:
    """A sleep that takes no time and remembers what was asked of it."""

    def __init__(self):
        self.asked = []

    async def __call__(self, seconds):
        self.asked.append(seconds)
        await asyncio.sleep(0)


class Scripted:
    """A channel that does what it is told: each entry is None (arrives), an exception, or an event to wait for."""

    def __init__(self, *script):
        self.script = list(script)
        self.got = []

    async def send(self, notice):
        behaviour = self.script.pop(0) if self.script else None
        if isinstance(behaviour, asyncio.Event):
            await behaviour.wait()
        elif behaviour is not None:
            raise behaviour
        self.got.append(notice)
