"""Fetching from a venue that misbehaves gives what an honest one gives, or one clear error."""

import asyncio
import contextlib

import numpy as np
import pytest

from adapters.ctrader import listing, requests
from adapters.ctrader.download import BarPlan, TickPlan, complete_end_ns
from adapters.ctrader.fetch import Line, answers, newest_minute_ns
from adapters.ctrader.limits import Kind
from adapters.ctrader.messages import openapi
from adapters.ctrader.secret import Secret
from adapters.ctrader.shell import Server
from adapters.ctrader.venue import gatekeeping
from adapters.ctrader.venue import history as venue_history
from adapters.ctrader.venue.certificates import make
from adapters.ctrader.venue.core import Venue
from adapters.ctrader.venue.endpoint import Endpoint
from adapters.ctrader.venue.faults import Fault, Plan
from adapters.ctrader.venue.feed import Feed
from adapters.ctrader.venue.server import VenueServer
from adapters.ctrader.venue.specs import AccountSpec, Limits, VenueSpec
from adapters.history import SpreadModel, sample
from adapters.history.spans import Span
from bus.errors import ConfigError, Refused, SessionLost
from bus.values import NS_PER_HOUR, NS_PER_S, default_instrument
from tests.harness.aio import run
from tests.harness.ctrader_broker import specification_of

ACCOUNT = 7
H1 = 9
SERIES = sample().slice(0, 1_200)
LIVE = 1_000  # the venue's history ends here
NOW_NS = int(SERIES.ts_open_ns[-1]) + 10_000 * NS_PER_HOUR  # our clock, long after the recorded prices
SPAN = Span(int(SERIES.ts_open_ns[100]), int(SERIES.ts_open_ns[900]))


@contextlib.asynccontextmanager
async def serving(folder, *faults, limits=None):
    feed = Feed([SERIES], [SpreadModel()], from_ns=int(SERIES.ts_open_ns[LIVE]))
    spec = VenueSpec(
        instruments=(default_instrument("EURUSD"),),
        accounts=(AccountSpec(account_id=ACCOUNT),),
        limits=limits or Limits(bars_per_response=200, ticks_per_response=400),
    )
    venue = Venue(spec, opened_ns=feed.opened_ns)
    feed.prepare(venue)
    ca_file, tls = make(folder)
    endpoint = Endpoint(venue, Plan(faults=faults))
    async with VenueServer(endpoint, feed, tls=tls, host="127.0.0.1", port=0, http_port=0, speed=None) as server:
        server.ca_file = ca_file
        yield server


def issue(server):
    now_ns = int(asyncio.get_running_loop().time() * NS_PER_S)
    return Secret(server.endpoint.venue.tokens.issue(now_ns).access)


@contextlib.asynccontextmanager
async def line_to(server, *, token=None, renew=None, **more):
    async def another(_):
        return issue(server)

    tokens = server.endpoint.venue.tokens
    line = Line(
        Server("127.0.0.1", server.port, server.ca_file), tokens.client_id, Secret(tokens.client_secret),
        token or issue(server), renew=renew or another, **more,
    )  # fmt: skip
    try:
        await line.open()
        yield line
    finally:
        await line.close()


async def fetched(line, plan):
    """All rows of a plan, oldest first, as one list of columns."""
    parts = []
    async for handed_out in answers(line, plan):
        parts += handed_out
    parts.sort(key=lambda part: part[0])
    series = [rows for _, rows in parts]
    names = ("ts_ns", "bid_e5", "ask_e5") if hasattr(series[0], "bid_e5") else (
        "ts_open_ns", "open_e5", "high_e5", "low_e5", "close_e5", "quotes")  # fmt: skip
    return [np.concatenate([getattr(rows, name) for rows in series]).tolist() for name in names]


def bars():
    return BarPlan(ACCOUNT, 1, "EURUSD", H1, SPAN)


def ticks():
    return TickPlan(ACCOUNT, 1, "EURUSD", Span(SPAN.start_ns, SPAN.start_ns + 130 * NS_PER_HOUR))


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """Bars and ticks of a venue without faults or cuts."""

    async def story():
        folder = tmp_path_factory.mktemp("honest")
        async with serving(folder, limits=Limits()) as server, line_to(server) as line:
            await line.log_in(ACCOUNT)
            return await fetched(line, bars()), await fetched(line, ticks())

    return run(story())


def test_bars_are_those_that_the_venue_was_given(honest):
    times, *prices, quotes = honest[0]
    own = SERIES.slice(100, 900)
    assert times == own.ts_open_ns.tolist()
    assert prices == [own.open_e5.tolist(), own.high_e5.tolist(), own.low_e5.tolist(), own.close_e5.tolist()]
    assert set(quotes) == {4}


FAULTS = {
    "reset within an answer": [Fault(kind="reset_within", on="GetTrendbarsRes", nth=2, times=2)],
    "reset before an answer": [Fault(kind="reset_before", on="GetTrendbarsRes", nth=3)],
    "reset at a request": [Fault(kind="reset_before", on="GetTrendbarsReq", nth=2)],
    "latency": [Fault(kind="latency", min_ms=10, max_ms=150)],
    "doubled and late": [
        Fault(kind="double", on="GetTrendbarsRes", times=0),
        Fault(kind="late", on="GetTrendbarsRes", nth=2, min_ms=300, max_ms=400),
    ],
    "throttled": [Fault(kind="throttle", payload_type=2137, at_s=0.4, for_s=1)],
    "account thrown out": [Fault(kind="account_disconnect", at_s=0.4)],
    "account thrown out in silence": [Fault(kind="silent_logout", at_s=0.4)],
    "application thrown out": [Fault(kind="client_disconnect", at_s=0.4)],
    "token invalidated": [Fault(kind="token_invalidated", at_s=0.4)],
    "garbage": [Fault(kind="garbage", on="GetTrendbarsRes", nth=2)],
    "maintenance": [Fault(kind="maintenance", at_s=0.4, for_s=1)],
}


@pytest.mark.parametrize("name", FAULTS)
def test_whatever_goes_wrong_on_the_way_the_bars_are_the_same(honest, tmp_path, name):
    troubles = []

    async def story():
        async with serving(tmp_path, *FAULTS[name]) as server, line_to(server, on_trouble=troubles.append) as line:
            await line.log_in(ACCOUNT)
            return await fetched(line, bars())

    found = run(story())
    assert found == honest[0]
    if FAULTS[name][0].kind in {"reset_within", "reset_before", "garbage"}:  # others strike at a time, or unnoticed
        assert troubles


def test_an_answer_that_never_comes_is_asked_for_again(honest, tmp_path, monkeypatch):
    monkeypatch.setitem(requests.PATIENCE, Kind.HISTORY, requests.Patience(60, 1))
    troubles = []

    async def story():
        lost = Fault(kind="lose", on="GetTrendbarsRes", nth=2)
        async with serving(tmp_path, lost) as server, line_to(server, on_trouble=troubles.append) as line:
            await line.log_in(ACCOUNT)
            return await fetched(line, bars())

    found = run(story())
    assert found == honest[0]
    assert len(troubles) == 1
    assert "no answer in time" in troubles[0]


def test_ticks_of_cut_pages_and_a_lost_connection_are_those_of_whole_ones(honest, tmp_path):
    async def story():
        faults = [Fault(kind="reset_within", on="GetTickDataRes", nth=3), Fault(kind="latency", max_ms=50)]
        async with serving(tmp_path, *faults, limits=Limits(ticks_per_response=150)) as server, line_to(server) as line:
            await line.log_in(ACCOUNT)
            return await fetched(line, ticks())

    found = run(story())
    assert len(found[0]) > 200
    assert found == honest[1]


def test_a_server_that_takes_shorter_windows_only_is_asked_for_shorter_ones(honest, tmp_path, monkeypatch):
    async def story():
        monkeypatch.setattr(venue_history, "_WEEK_MS", venue_history._WEEK_MS // 5)
        async with serving(tmp_path) as server, line_to(server) as line:
            await line.log_in(ACCOUNT)
            return await fetched(line, ticks())

    found = run(story())
    assert found == honest[1]


def test_a_gap_in_live_bars_is_filled_from_cut_answers_too(honest, tmp_path):
    async def story():
        async with serving(tmp_path) as server, line_to(server) as line:
            await line.log_in(ACCOUNT)
            return await listing.bars(
                line.ask, ACCOUNT, specification_of(), NS_PER_HOUR, since_ns=SPAN.start_ns,
                now_ns=SPAN.end_ns - NS_PER_HOUR,
            )  # fmt: skip

    assert [bar.ts_open_ns for bar in run(story())] == honest[0][0]


def test_the_pace_is_one_that_the_server_never_refuses(tmp_path, monkeypatch):
    refusals, seen = [], []
    throttled, refusal = gatekeeping.throttled, gatekeeping.Pace.refusal
    monkeypatch.setattr(gatekeeping, "throttled", lambda *said: refusals.append(said) or throttled(*said))

    def counted(pace, payload_type, limits, now_ns):
        seen.extend([now_ns] * (payload_type in gatekeeping.HISTORY))
        return refusal(pace, payload_type, limits, now_ns)

    monkeypatch.setattr(gatekeeping.Pace, "refusal", counted)

    async def story():
        async with serving(tmp_path, limits=Limits(bars_per_response=40)) as server, line_to(server) as line:
            await line.log_in(ACCOUNT)
            await newest_minute_ns(line, ACCOUNT, 1, NOW_NS)
            await fetched(line, bars())
            return line.throttled

    assert run(story()) == 0
    assert refusals == []
    assert len(seen) > 20
    assert all(later - earlier > NS_PER_S for earlier, later in zip(seen, seen[5:], strict=False))


def test_the_present_is_where_the_venues_newest_price_is_whatever_our_clock_says(tmp_path):
    async def story():
        async with serving(tmp_path) as server, line_to(server) as line:
            await line.log_in(ACCOUNT)
            return await newest_minute_ns(line, ACCOUNT, 1, NOW_NS)

    newest_ns = run(story())
    forming_ns = int(SERIES.ts_open_ns[LIVE - 1])
    assert forming_ns < newest_ns < forming_ns + NS_PER_HOUR
    assert complete_end_ns(H1, newest_ns) <= forming_ns


# --- giving up ---------------------------------------------------------------------------------------------------


def test_a_server_that_is_gone_for_good_is_one_error_after_our_patience(tmp_path):
    async def story():
        async with contextlib.AsyncExitStack() as venue:
            server = await venue.enter_async_context(serving(tmp_path))
            async with line_to(server, patience_s=2) as line:
                await line.log_in(ACCOUNT)
                await line.ask(openapi.ProtoOATraderReq(ctidTraderAccountId=ACCOUNT))
                await venue.aclose()
                with pytest.raises(
                    SessionLost, match=rf"127\.0\.0\.1:{server.port}: (no answer to GetTrend|not logged in)"
                ):
                    await fetched(line, bars())

    run(story())


def test_a_throttling_without_end_is_one_error_after_our_patience(tmp_path):
    async def story():
        forever = Fault(kind="throttle", payload_type=2137, for_s=1_000)
        async with serving(tmp_path, forever) as server, line_to(server, patience_s=2) as line:
            await line.log_in(ACCOUNT)
            with pytest.raises(SessionLost, match=r"no answer to GetTrendbarsReq in 1 attempt and .* rate limited"):
                await fetched(line, bars())

    run(story())


def test_what_the_broker_refuses_for_good_is_told_at_once(tmp_path):
    async def story():
        async with serving(tmp_path) as server, line_to(server) as line:
            await line.log_in(ACCOUNT)
            with pytest.raises(Refused, match="SYMBOL_NOT_FOUND"):
                await fetched(line, BarPlan(ACCOUNT, 99, "NOSUCH", H1, SPAN))
            assert line.requests == 0

    run(story())


def test_an_account_that_the_login_does_not_cover_is_told_at_once(tmp_path):
    async def story():
        async with serving(tmp_path) as server, line_to(server) as line:
            with pytest.raises(Refused, match="ACCOUNT"):
                await line.log_in(999)

    run(story())


def test_a_token_that_was_replaced_elsewhere_is_exchanged_for_the_newest(tmp_path):
    asked = []

    async def story():
        async with serving(tmp_path) as server:
            stale = issue(server)

            async def renew(refused):
                asked.append(refused == stale)
                return issue(server)

            tokens = server.endpoint.venue.tokens
            tokens._grants.clear()
            async with line_to(server, token=stale, renew=renew) as line:
                (account,) = await line.accounts()
                await line.log_in(account.ctidTraderAccountId)
                return await fetched(line, bars())

    assert len(run(story())[0]) == 800
    assert asked == [True]


def test_a_token_that_nobody_can_replace_is_one_error(tmp_path):
    async def story():
        async def nobody(_):
            raise ConfigError("set another")

        dead = Fault(kind="token_invalidated", at_s=0.4)
        async with serving(tmp_path, dead) as server, line_to(server, renew=nobody) as line:
            await line.log_in(ACCOUNT)
            with pytest.raises(ConfigError, match="set another"):
                await fetched(line, bars())

    run(story())
