"""OAuth2 with the broker: the consent in a browser, the redirect on loopback, codes and refresh tokens for pairs.

The token endpoint takes secrets in the query of a GET (reference 2.2). So no exception, URL or text of the HTTP library
leaves this file: what went wrong is said in our own words. Requests are sent once: the library would repeat a GET whose
connection broke, and the second one would find its single-use token used.
"""

import asyncio
import contextlib
import hmac
import ipaddress
import secrets
import ssl
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Literal, Self, cast
from urllib.parse import urlencode, urlsplit

import aiohttp
import msgspec
from aiohttp import web

from adapters.ctrader.grants import LONGEST_LIFETIME_S, LONGEST_TOKEN, Answer, Issued, TokenRefused, Unanswered
from adapters.ctrader.secret import Secret
from bus.errors import ConfigError, Refused

CALLBACK_PATH = "/callback"
LARGEST_ANSWER_BYTES = 65_536
MOST_WRONG_CALLBACKS = 20

_DEAD_TOKEN = frozenset({"CH_ACCESS_TOKEN_INVALID", "OA_AUTH_TOKEN_EXPIRED"})
_WRONG_CLIENT = frozenset({"CH_CLIENT_AUTH_FAILURE", "CH_OA_CLIENT_NOT_FOUND"})
_BUSY = frozenset({"BLOCKED_PAYLOAD_TYPE", "REQUEST_FREQUENCY_EXCEEDED", "SERVER_IS_UNDER_MAINTENANCE",
                   "CH_SERVER_NOT_REACHABLE", "CANT_ROUTE_REQUEST"})  # fmt: skip

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Plimsoll</title><style>body{{font:18px/1.5 system-ui,sans-serif;max-width:32em;margin:15vh auto;padding:0 1em}}
</style><h1>{title}</h1><p>{text}</p></html>"""


def check_endpoint(key: str, url: str) -> None:
    """Refuse a URL over which secrets would travel in the clear. Plain http is for loopback only.

    Raises:
        ConfigError: names the key and what to write.
    """
    parts = urlsplit(url)
    try:
        loopback = parts.hostname == "localhost" or ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        loopback = False
    if not parts.hostname or parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError(f"{key} must be a plain URL such as https://host/path, without user, query or fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise ConfigError(f"{key} = {url!r}: secrets travel over it; write an https URL (http only on 127.0.0.1)")


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """TLS that verifies chain and host name, against a private authority where one is given.

    Raises:
        ConfigError: the file of the authority cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ctrader.ca_file {ca_file} cannot be used: {error.strerror or 'no certificate'}") from None


class _Lost(Exception):
    """The connection broke after the request may have been written."""


async def _once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, TimeoutError):
        raise
    except (aiohttp.ClientError, OSError) as error:
        raise _Lost(type(error).__name__) from None  # of no kind that the library repeats


class TokenEndpoint:
    """The broker's token endpoint.

    Args:
        url: of the endpoint.
        ca_file: a private authority; None = the machine's.
        timeout_s: for one request, as a whole. Generous: an answer that is not waited for is a lost pair.

    Raises:
        ConfigError: the URL or the authority cannot be used.
    """

    def __init__(
        self, url: str, client_id: str, client_secret: Secret, ca_file: Path | None = None, timeout_s: float = 60
    ) -> None:
        check_endpoint("ctrader.token_url", url)
        self._url = url
        self._client_id = client_id
        self._client_secret = client_secret
        self._tls = tls_context(ca_file) if url.startswith("https") else None
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=15)

    async def refresh(self, refresh_token: Secret) -> Answer:
        """Spend a refresh token. Raises nothing."""
        return await self._request({"grant_type": "refresh_token", "refresh_token": refresh_token.reveal()})

    async def exchange(self, code: Secret, redirect_uri: str) -> Answer:
        """Spend an authorisation code: good once, for a minute. Raises nothing."""
        query = {"grant_type": "authorization_code", "code": code.reveal(), "redirect_uri": redirect_uri}
        return await self._request(query)

    async def _request(self, query: dict[str, str]) -> Answer:
        query |= {"client_id": self._client_id, "client_secret": self._client_secret.reveal()}
        try:
            async with (
                aiohttp.ClientSession(
                    timeout=self._timeout,
                    connector=aiohttp.TCPConnector(ssl=self._tls or True, force_close=True),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    middlewares=(_once,),
                ) as session,
                session.get(
                    self._url, params=query, allow_redirects=False, headers={"Accept": "application/json"}
                ) as response,
            ):
                body = await _read(response)
                return _answer(response.status, response.headers.get("Retry-After", ""), body, list(query.values()))
        except aiohttp.ClientConnectorCertificateError:
            return Unanswered(sent=False, reason=f"the certificate of {self._where()} is not to be trusted")
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return Unanswered(sent=False, reason=f"no connection to {self._where()} ({type(error).__name__})")
        except TimeoutError:
            return Unanswered(sent=True, reason=f"{self._where()} did not answer within {self._timeout.total:.0f} s")
        except (_Lost, aiohttp.ClientError, OSError, ValueError) as error:
            what = str(error) if isinstance(error, _Lost) else type(error).__name__
            return Unanswered(sent=True, reason=f"the connection to {self._where()} broke ({what})")

    def _where(self) -> str:
        return urlsplit(self._url).netloc


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(8_192):
        body += chunk
        if len(body) > LARGEST_ANSWER_BYTES:
            raise _Lost("an answer too long")
    return bytes(body)


def _answer(status: int, retry_after: str, body: bytes, hidden: list[str]) -> Answer:
    """Status and body to an answer. Whether a failure has a status of its own is not settled, so both are looked at."""
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        found = None
    fields = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    code = fields.get("errorCode") or fields.get("error")
    wait_s = int(retry_after) if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 6 else 0
    if code or status >= 300:
        name = _plain(code, 64, hidden) or f"HTTP {status}"
        if status == 429 or name in _BUSY:
            return Unanswered(sent=False, reason=f"it wants to be left alone ({name})", retry_after_s=max(wait_s, 60))
        if status >= 500 and not code:
            return Unanswered(sent=True, reason=f"its server failed ({name})", retry_after_s=wait_s)
        kind: Literal["token", "client", "other"] = (
            "token" if name in _DEAD_TOKEN else "client" if name in _WRONG_CLIENT else "other"
        )
        return TokenRefused(name, _plain(fields.get("description"), 200, hidden), kind)
    access, refresh, lifetime = fields.get("accessToken"), fields.get("refreshToken"), fields.get("expiresIn")
    if isinstance(lifetime, str) and lifetime.isascii() and lifetime.isdigit() and len(lifetime) < 12:
        lifetime = int(lifetime)
    if (
        not isinstance(access, str)
        or not isinstance(refresh, str)
        or not isinstance(lifetime, int)
        or not 0 < len(access) <= LONGEST_TOKEN
        or not 0 < len(refresh) <= LONGEST_TOKEN
        or not 0 < lifetime <= LONGEST_LIFETIME_S
    ):
        return Unanswered(sent=True, reason=f"its answer (HTTP {status}, {len(body)} bytes) holds no token pair")
    return Issued(Secret(access), Secret(refresh), lifetime)


def _plain(text: object, most: int, hidden: list[str]) -> str:
    """A text from outside, for one line, without what we sent: an endpoint may echo it."""
    if not isinstance(text, str):
        return ""
    for each in hidden:
        text = text.replace(each, "***")
    return "".join(each if each.isprintable() else "?" for each in " ".join(text.split()))[:most]


# --- the consent -----------------------------------------------------------------------------------------------


def consent_url(base: str, client_id: str, redirect_uri: str, scope: str, state: str) -> str:
    """Where the user allows the application to act."""
    query = {"client_id": client_id, "redirect_uri": redirect_uri, "scope": scope, "product": "web", "state": state}
    return f"{base}?{urlencode(query)}"


class Redirect:
    """Catches the one redirect that answers a consent, on loopback.

    Use it as ``async with Redirect(port) as redirect``. A redirect without the right `state` is not ours: it is refused
    and the wait goes on. After the right one nothing more is taken.

    Args:
        port: that the registered redirect URI names; 0 = any free one, for tests.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.state = secrets.token_urlsafe(32)
        self._arrived: asyncio.Future[Secret] = asyncio.get_running_loop().create_future()
        self._wrong = 0
        self._stack = contextlib.AsyncExitStack()

    @property
    def uri(self) -> str:
        """The redirect URI, as it has to be registered with the application."""
        return f"http://127.0.0.1:{self.port}{CALLBACK_PATH}"

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._serving())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._arrived.cancel()
        await self._stack.aclose()

    @contextlib.asynccontextmanager
    async def _serving(self) -> AsyncGenerator[None]:
        application = web.Application(client_max_size=4_096)
        application.router.add_get(CALLBACK_PATH, self._callback)
        runner = web.AppRunner(application, access_log=None, handle_signals=False, shutdown_timeout=2)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True).start()
            except OSError as error:
                raise ConfigError(
                    f"cannot listen on 127.0.0.1:{self.port} for the redirect: {error.strerror}; stop what holds it, "
                    "or set ctrader.redirect_port and register that URI with the application"
                ) from None
            self.port = int(runner.addresses[0][1])
            yield
        finally:
            await runner.cleanup()

    async def wait(self, timeout_s: float) -> Secret:
        """The authorisation code.

        Raises:
            Refused: the user or the broker said no, or nothing came in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(self._arrived)
        except TimeoutError:
            raise Refused("NO_CONSENT", f"nobody answered within {timeout_s:.0f} s; run this again") from None

    async def _callback(self, request: web.Request) -> web.Response:
        if request.host not in {f"127.0.0.1:{self.port}", f"localhost:{self.port}"} or self._arrived.done():
            return _page(410, "Nothing to do here", "No login is waiting for an answer.")
        state = request.query.get("state", "")
        if not hmac.compare_digest(state.encode(errors="replace"), self.state.encode()):
            self._wrong += 1
            if self._wrong >= MOST_WRONG_CALLBACKS:
                self._arrived.set_exception(Refused("WRONG_STATE", "somebody else keeps answering; run this again"))
            return _page(400, "This is not the answer to our question", "Please go back and use the newest link.")
        code = request.query.get("code", "")
        if not 0 < len(code) <= LONGEST_TOKEN:
            said = _plain(request.query.get("error_description") or request.query.get("error"), 200, [self.state])
            self._arrived.set_exception(Refused("NO_CONSENT", said or "the redirect brought no code; run this again"))
            return _page(200, "Not connected", "Plimsoll was not allowed to use your account. You can close this page.")
        self._arrived.set_result(Secret(code))
        return _page(200, "Connected", "Plimsoll may use your account now. You can close this page.")


def _page(status: int, title: str, text: str) -> web.Response:
    headers = {
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    }
    body = _PAGE.format(title=title, text=text)
    return web.Response(status=status, text=body, content_type="text/html", headers=headers)
