"""Access tokens refresh by themselves, and what the broker may answer is survived."""

import asyncio
import copy
import io
import json
import logging
import pickle
import traceback

import msgspec
import pytest

from adapters.ctrader.grants import (
    Account,
    Issued,
    LoginNeeded,
    TokenRefused,
    TokensUnavailable,
    Unanswered,
    decode,
    encode,
)
from adapters.ctrader.secret import Secret
from adapters.ctrader.tokenstore import TokenStore
from bus.errors import ConfigError, RateLimited
from tests.harness.aio import run
from tests.harness.tokens import MARK, Broker, Desk


@pytest.fixture
def desk():
    desk = Desk()
    desk.log_in()
    return desk


def tokens_of(desk):
    return desk.store().peek()


def answers(desk, answer):
    async def ask(token):
        desk.asked += 1
        return answer

    desk.ask = ask


def test_a_token_is_used_for_two_thirds_of_its_life_and_then_refreshed_unasked(desk):
    first, asked = desk.run(), desk.asked
    desk.pass_days(20)
    assert desk.run() == first
    assert desk.asked == asked

    desk.pass_days(1)
    second = desk.run()

    assert second != first
    assert desk.broker.accepts(second)
    assert not desk.broker.accepts(first)
    assert desk.run() == second


def test_a_refresh_renews_the_spare_before_the_active_grant(desk):
    order = []
    original = desk.ask

    async def ask(token):
        tokens = tokens_of(desk)
        order.append("spare" if token == tokens.spare.pair.refresh else "active")
        return await original(token)

    desk.ask = ask
    desk.run("refresh")

    assert order == ["spare", "active"]


def test_a_refused_token_is_replaced_by_the_newest_known_before_anything_is_refreshed(desk):
    old = desk.run()
    desk.pass_days(1)
    new = desk.run("refresh")
    asked = desk.asked

    assert desk.run("replace", old) == new
    assert desk.asked == asked


def test_a_refused_newest_token_is_refreshed_but_never_in_a_loop(desk):
    desk.pass_days(1)
    token = desk.run()
    desk.broker.access_tokens.pop(token.reveal())
    new = desk.run("replace", token)
    assert desk.broker.accepts(new)

    with pytest.raises(RateLimited) as caught:
        desk.run("replace", new)
    assert 0 < caught.value.retry_after_s <= 10


def test_many_askers_at_once_cause_one_refresh():
    desk = Desk()
    desk.log_in(spare=False)
    desk.pass_days(25)
    asked = desk.asked

    async def all_at_once():
        return await asyncio.gather(*(desk.keeper().access_token() for _ in range(8)))

    assert len(set(run(all_at_once()))) == 1
    assert desk.asked == asked + 1


def test_without_an_answer_the_living_token_goes_on_and_the_endpoint_is_left_alone(desk):
    desk.pass_days(25)
    desk.no_answer = Unanswered(sent=False, reason="no route")
    keeper = desk.keeper()
    old = run(keeper.access_token())
    asked = desk.asked

    assert run(keeper.access_token()) == old
    assert desk.asked == asked
    assert keeper.trouble == "the token endpoint gave no answer: no route"
    assert keeper.due_at_ns() == desk.now_ns + 30 * 1_000_000_000
    assert not tokens_of(desk).active.in_doubt

    desk.no_answer = None
    desk.pass_days(1)
    assert desk.broker.accepts(run(keeper.access_token()))
    assert keeper.trouble == ""


def test_while_it_is_open_what_became_of_the_spare_the_active_grant_is_left_alone(desk):
    desk.pass_days(1)
    desk.run("refresh")
    desk.pass_days(1)
    answers(desk, Unanswered(sent=True, reason="reset"))
    with pytest.raises(TokensUnavailable, match="reset"):
        desk.run("refresh")
    assert tokens_of(desk).spare.in_doubt
    assert not tokens_of(desk).active.in_doubt


def test_an_expired_token_and_no_answer_is_said_and_may_be_tried_again():
    desk = Desk()
    desk.log_in(spare=False)
    desk.pass_days(31)
    desk.no_answer = Unanswered(sent=False, reason="no route")
    with pytest.raises(TokensUnavailable, match="no route; try again later"):
        desk.run()

    desk.no_answer = None
    assert desk.broker.accepts(desk.run())


def test_a_grant_revoked_elsewhere_lives_to_its_end_and_is_not_refreshed_again():
    desk = Desk()
    desk.log_in(spare=False)
    desk.pass_days(25)
    desk.broker.refresh_tokens.clear()
    keeper = desk.keeper()

    token = run(keeper.access_token())
    asked = desk.asked
    assert desk.broker.accepts(token)
    assert "revoked, or used elsewhere" in keeper.trouble
    assert "run `plimsoll auth login` before" in keeper.trouble
    assert desk.run() == token
    assert desk.asked == asked

    desk.pass_days(10)
    with pytest.raises(LoginNeeded, match="run `plimsoll auth login`"):
        desk.run()


def test_a_broker_that_keeps_one_consent_leaves_no_spare_that_only_looks_like_one():
    desk = Desk(broker=Broker(consent_ends_others=True))

    assert desk.log_in() is False
    assert tokens_of(desk).spare is None
    assert desk.broker.accepts(desk.run())


def test_wrong_application_credentials_do_not_cost_the_grant(desk):
    desk.pass_days(25)
    keeper = desk.keeper()
    original, desk.asked = desk.ask, 0

    async def refuse(token):
        return TokenRefused("CH_CLIENT_AUTH_FAILURE", "", "client")

    keeper._ask = refuse
    assert desk.broker.accepts(run(keeper.access_token())), "the living token goes on"
    with pytest.raises(ConfigError, match="check ctrader.client_id and the client secret"):
        run(keeper.refresh())

    keeper._ask = original
    assert desk.broker.accepts(run(keeper.refresh()))


def test_a_full_disk_is_found_before_the_refresh_token_is_spent(desk):
    desk.pass_days(25)
    old, asked = tokens_of(desk).active.pair.access, desk.asked

    def full(name, size):
        raise OSError(28, "No space left on device")

    desk.folder.reserve = full
    keeper = desk.keeper()

    assert run(keeper.access_token()) == old
    assert desk.asked == asked
    assert "No space left on device" in keeper.trouble


def test_an_answer_that_cannot_be_stored_stays_in_memory_unused_until_it_can(desk):
    desk.pass_days(25)
    keeper = desk.keeper()
    rename, after = desk.folder.rename, []

    def break_after_the_answer(old, new):
        if after:
            raise OSError(5, "Input/output error")
        rename(old, new)

    original = desk.ask

    async def ask(token):
        answer = await original(token)
        after.append(1)
        return answer

    keeper._ask = ask
    desk.folder.rename = break_after_the_answer
    with pytest.raises(TokensUnavailable, match="kept in memory and not used"):
        run(keeper.access_token())

    desk.folder.rename = rename
    assert desk.broker.accepts(run(keeper.access_token()))
    assert desk.broker.accepts(desk.run()), "and now it is durable"
    assert tokens_of(desk).spare is not None


def test_an_answer_that_could_not_be_written_once_is_written_again_at_once():
    desk = Desk()
    desk.log_in(spare=False)
    desk.pass_days(25)
    sync, failures = desk.folder.sync, []

    def fail_after_the_answer(handle):
        if "answered" in desk.folder.machine.steps and not failures:
            failures.append(handle)
            raise OSError(5, "Input/output error")
        sync(handle)

    desk.folder.restart()
    desk.folder.sync = fail_after_the_answer
    token = desk.run()

    assert failures
    assert desk.broker.accepts(token)
    assert desk.run() == token


def test_a_cancelled_caller_does_not_cut_a_refresh_short():
    desk = Desk()
    desk.log_in(spare=False)
    desk.pass_days(25)

    async def cancelled_on_the_way():
        asked, answer = asyncio.Event(), asyncio.Event()
        original = desk.ask

        async def ask(token):
            asked.set()
            result = await original(token)
            await answer.wait()
            return result

        desk.ask = ask
        task = asyncio.ensure_future(desk.keeper().access_token())
        await asked.wait()
        task.cancel()
        await asyncio.sleep(0)
        answer.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(cancelled_on_the_way())
    assert not tokens_of(desk).active.in_doubt
    assert desk.broker.accepts(desk.run())


def test_another_process_that_keeps_the_lock_is_waited_for_and_then_named():
    desk = Desk()
    desk.log_in()
    desk.pass_days(25)
    desk.folder.try_lock("tokens.lock")

    with pytest.raises(TokensUnavailable, match="another process has held the token store for 1 s"):
        desk.run()


def test_tokens_are_shown_to_no_other_application_and_no_other_endpoint(desk):
    for client_id, url in (("other", "https://broker/token"), ("app", "https://elsewhere/token")):
        with pytest.raises(ConfigError, match="the stored tokens belong to application 'app'"):
            TokenStore(desk.store().sealed, client_id, url).peek()


def test_accounts_are_remembered(desk):
    accounts = (Account(ctid_trader_account_id=7, trader_login=42, live=False, broker="B"),)
    desk.run("note_accounts", accounts)

    assert tokens_of(desk).accounts == accounts


def test_what_is_stored_comes_back_and_a_foreign_version_is_one_clear_line(desk):
    tokens = tokens_of(desk)

    assert decode(encode(tokens)) == tokens
    with pytest.raises(ConfigError, match="another version"):
        decode(b'{"generation": "many"}')


async def refuse_with(secret):
    raise ConfigError(f"this will not do: {secret}")


def test_nobody_is_told_a_secret(desk):
    secret = Secret("hunter2")
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("secrets")
    logger.addHandler(handler)
    logger.error("%s %r", secret, Issued(secret, secret, 1))
    logger.removeHandler(handler)
    shown = [stream.getvalue(), repr(tokens_of(desk)), str({"s": secret}), f"{secret:>20}", repr(desk.keeper())]
    with pytest.raises(ConfigError) as caught:
        run(refuse_with(secret))
    shown += [str(caught.value), *traceback.format_exception_only(caught.value)]

    assert not any("hunter2" in text or MARK in text for text in shown)
    for leak in (pickle.dumps, json.dumps, msgspec.json.encode, msgspec.to_builtins):
        with pytest.raises(TypeError):
            leak(secret)
    assert copy.deepcopy(secret).reveal() == "hunter2"
    assert secret == Secret("hunter2")
    assert secret != "hunter2"
