"""The venue on a socket: TLS that can be verified, every cut of the stream, resets that are resets."""

import asyncio
import contextlib
import ssl

import pytest
from aiohttp import ClientSession
from yarl import URL

from adapters.ctrader.frames import FrameDecoder, decode_envelope, encode_envelope, encode_frame
from adapters.ctrader.messages import openapi
from adapters.ctrader.venue.certificates import make
from adapters.ctrader.venue.core import Venue
from adapters.ctrader.venue.endpoint import Endpoint
from adapters.ctrader.venue.faults import Fault, Plan
from adapters.ctrader.venue.feed import Feed
from adapters.ctrader.venue.server import VenueServer
from adapters.ctrader.venue.specs import AccountSpec, VenueSpec
from adapters.history import SpreadModel, sample
from bus.values import default_instrument

ROW = 4_990


@contextlib.asynccontextmanager
async def serving(folder, *faults):
    series = sample().slice(0, 5_000)
    feed = Feed([series], [SpreadModel()], from_ns=int(series.ts_open_ns[ROW]))
    spec = VenueSpec(instruments=(default_instrument("EURUSD"),), accounts=(AccountSpec(account_id=7),))
    venue = Venue(spec, opened_ns=feed.opened_ns)
    feed.prepare(venue)
    ca_file, tls = make(folder)
    endpoint = Endpoint(venue, Plan(faults=faults))
    async with VenueServer(endpoint, feed, tls=tls, host="127.0.0.1", port=0, http_port=0, speed=None) as server:
        yield server, ca_file


class Wire:
    def __init__(self, reader, writer):
        self.reader, self.writer, self.decoder, self.got = reader, writer, FrameDecoder(), []

    async def ask(self, message, name="x", cut=7):
        data = encode_frame(encode_envelope(message, name))
        for start in range(0, len(data), cut):
            self.writer.write(data[start : start + cut])
            await self.writer.drain()
        return await self.until(lambda envelope: envelope.client_msg_id == name)

    async def until(self, matches):
        while True:
            for envelope in self.got:
                if matches(envelope):
                    self.got.remove(envelope)
                    return envelope.message
            data = await asyncio.wait_for(self.reader.read(65_536), 10)
            if not data:
                raise EOFError
            self.got += [decode_envelope(frame) for frame in self.decoder.feed(data)]


async def signed_in(server, ca_file, host="localhost"):
    context = ssl.create_default_context(cafile=ca_file)
    wire = Wire(*await asyncio.open_connection("127.0.0.1", server.port, ssl=context, server_hostname=host))
    venue = server.endpoint.venue
    tokens = venue.tokens
    await wire.ask(openapi.ProtoOAApplicationAuthReq(clientId=tokens.client_id, clientSecret=tokens.client_secret))
    grant = tokens.issue(int(asyncio.get_running_loop().time() * 1e9))
    await wire.ask(openapi.ProtoOAAccountAuthReq(ctidTraderAccountId=7, accessToken=grant.access))
    return wire, grant


def test_a_client_that_verifies_chain_and_name_gets_the_whole_recorded_day_once_it_subscribes(tmp_path):
    async def main():
        async with serving(tmp_path) as (server, ca_file):
            assert server.endpoint.venue.market.tapes[1]
            with pytest.raises(ssl.SSLCertVerificationError):
                await signed_in(server, ca_file, host="elsewhere")
            wire, _ = await signed_in(server, ca_file, host="127.0.0.1")
            await wire.ask(openapi.ProtoOASubscribeSpotsReq(ctidTraderAccountId=7, symbolId=[1]))
            for _ in range(1 + 4 * 10):  # the technical event, then four quotes a bar
                await wire.until(lambda envelope: envelope.payload_type == 2131)
            wire.writer.close()

    asyncio.run(main())
    assert (tmp_path / "server.pem").stat().st_mode & 0o777 == 0o600


def test_a_reset_reaches_the_client_as_one(tmp_path):
    async def main():
        async with serving(tmp_path, Fault(kind="reset_before", on="ReconcileReq")) as (server, ca_file):
            wire, _ = await signed_in(server, ca_file)
            with pytest.raises((ConnectionResetError, ssl.SSLError)):
                await wire.ask(openapi.ProtoOAReconcileReq(ctidTraderAccountId=7))
            wire.writer.transport.abort()

    asyncio.run(main())


def test_consent_code_and_refresh_over_http_drop_the_login_of_the_old_token(tmp_path):
    async def main():
        async with serving(tmp_path) as (server, ca_file), ClientSession() as http:
            wire, grant = await signed_in(server, ca_file)
            tokens = server.endpoint.venue.tokens
            base = f"http://127.0.0.1:{server.http_port}/apps"
            query = {"client_id": tokens.client_id, "redirect_uri": "http://127.0.0.1:1/back", "state": "s t"}
            async with http.get(f"{base}/auth", params=query, allow_redirects=False) as answer:
                assert answer.status == 302
                back = URL(answer.headers["Location"])
                assert back.query["state"] == "s t"
            form = {
                "grant_type": "authorization_code", "code": back.query["code"], "redirect_uri": query["redirect_uri"],
                "client_id": tokens.client_id, "client_secret": tokens.client_secret,
            }  # fmt: skip
            async with http.get(f"{base}/token", params=form) as answer:
                assert (await answer.json())["accessToken"]
            used = grant.refresh
            form |= {"grant_type": "refresh_token", "refresh_token": used}
            async with http.get(f"{base}/token", params=form) as answer:
                assert (await answer.json())["refreshToken"] != used
            lost = await wire.until(lambda envelope: envelope.payload_type == 2147)
            assert list(lost.ctidTraderAccountIds) == [7]
            async with http.get(f"{base}/token", params=form) as answer:
                assert (answer.status, (await answer.json())["errorCode"]) == (400, "ACCESS_DENIED")
            wire.writer.close()

    asyncio.run(main())
