"""A token endpoint with HTTP in a thread, a user who says yes, and `plimsoll auth` against both."""

import asyncio
import contextlib
import random
import threading
import urllib.request
from urllib.parse import parse_qs, urlsplit

from aiohttp import web

from adapters.ctrader.grants import Issued
from adapters.ctrader.secret import Secret
from tests.harness.tokens import LIFETIME_S, Broker

CLIENT_SECRET = "TOKENMARK-client-secret"


class TokenServer:
    """The reference's token endpoint over `Broker`, on loopback.

    `kill` is called with a leg of a refresh (``arrived``, ``rotated``, ``answered``) when that is reached.
    """

    def __init__(self, broker=None):
        self.broker = broker or Broker()
        self.codes: dict[str, Issued] = {}
        self.kill = lambda leg: None
        self.refreshes = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self):
        asyncio.set_event_loop(self._loop)
        runner = self._loop.run_until_complete(self._start())
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _start(self):
        application = web.Application()
        application.router.add_get("/apps/token", self._token)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/apps/token"
        self._started.set()
        return runner

    async def _token(self, request):
        query = request.query
        if query["client_secret"] != CLIENT_SECRET:
            return web.json_response({"errorCode": "CH_CLIENT_AUTH_FAILURE"}, status=401)
        if query["grant_type"] == "authorization_code":
            answer = self.codes.pop(query["code"], None)
        else:
            self.refreshes += 1
            self.kill("arrived")
            answer = self.broker.refresh(Secret(query["refresh_token"]))
            self.kill("rotated")
        if not isinstance(answer, Issued):
            return web.json_response(
                {"errorCode": "CH_ACCESS_TOKEN_INVALID", "description": "no such token"}, status=400
            )
        response = web.json_response(
            {
                "accessToken": answer.access.reveal(),
                "refreshToken": answer.refresh.reveal(),
                "expiresIn": LIFETIME_S,
                "tokenType": "bearer",
            }
        )
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            await response.write_eof()
        if query["grant_type"] == "refresh_token":
            self.kill("answered")
        return response

    def say_yes(self, url):
        """A browser whose user allows what is asked; stands in for `webbrowser.open`."""
        query = {key: values[0] for key, values in parse_qs(urlsplit(url).query).items()}
        code = f"code-{random.getrandbits(64):x}"
        self.codes[code] = self.broker.consent()

        def visit():
            with urllib.request.urlopen(
                f"{query['redirect_uri']}?code={code}&state={query['state']}", timeout=10
            ) as page:
                self.page = page.read().decode()

        threading.Thread(target=visit, daemon=True).start()
        return True
