"""Retries, waits, limits and dead letters: nothing is lost in silence, and no channel costs another anything."""

import asyncio
import stat
import threading
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.notify import CHANNELS
from adapters.notify.contract import Undelivered
from adapters.notify.deadletters import LARGEST_BYTES, DeadLetter, DeadLetters
from adapters.notify.outbox import MOST_WAITING, Outbox, Retry, deliver
from adapters.notify.postman import Postman
from tests.harness.aio import run, until
from tests.harness.notify import SECRET_WORD, Receiver, Scripted, Waits, notice, place, settings_of

LATER = Undelivered("HTTP 503")
NEVER = Undelivered("HTTP 404", final=True)


def asked(seconds):
    return Undelivered("HTTP 429", retry_after_s=seconds)


def send(channel, retry=None, waits=None, seed=1):
    return run(deliver(channel, notice(), retry or Retry(), Random(seed), waits or Waits()))


# --- one delivery ----------------------------------------------------------------------------------------------


def test_what_fails_is_tried_again_until_it_arrives():
    channel, waits = Scripted(LATER, LATER, None), Waits()
    assert send(channel, waits=waits) == (3, "")
    assert len(channel.got) == 1
    assert len(waits.asked) == 2


@given(seed=st.integers(0, 2**32))
def test_waits_are_drawn_below_a_ceiling_that_doubles_up_to_the_longest(seed):
    waits = Waits()
    attempts, reason = send(Scripted(*[LATER] * 12), Retry(attempts=12, first_s=1, longest_s=60), waits, seed)
    assert (attempts, reason) == (12, "HTTP 503")
    ceilings = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]
    assert len(waits.asked) == len(ceilings)
    assert all(0 <= wait <= ceiling for wait, ceiling in zip(waits.asked, ceilings, strict=True))


def test_waits_differ_from_process_to_process():
    drawn = []
    for seed in range(20):
        waits = Waits()
        send(Scripted(*[LATER] * 8), waits=waits, seed=seed)
        drawn.append(tuple(waits.asked))
    assert len(set(drawn)) == 20


def test_a_receiver_is_left_alone_for_as_long_as_it_asks_but_not_for_ever():
    waits = Waits()
    assert send(Scripted(asked(42), None), waits=waits) == (2, "")
    assert waits.asked == [42]
    attempts, reason = send(Scripted(asked(901), None))
    assert (attempts, reason) == (1, "HTTP 429, and it asks to be left alone for 901 s")


def test_what_is_refused_for_good_is_not_tried_again():
    assert send(Scripted(NEVER, None)) == (1, "HTTP 404")


def test_an_attempt_has_a_time_limit():
    attempts, reason = send(Scripted(asyncio.Event(), asyncio.Event()), Retry(attempts=2, limit_s=0.05))
    assert (attempts, reason) == (2, "no answer within 0.05 s")


def test_a_channel_that_breaks_costs_its_notice_and_shows_no_words_of_its_own():
    attempts, reason = send(Scripted(*[KeyError(SECRET_WORD)] * 3), Retry(attempts=3))
    assert (attempts, reason) == (3, "it failed (KeyError)")


# --- several channels ------------------------------------------------------------------------------------------


def box(folder, channels, **more):
    lanes = {name: (channel, "info") for name, channel in channels.items()}
    return Outbox(lanes, DeadLetters(folder), sleep=more.pop("sleep", Waits()), dice=Random(1), **more)


def test_a_dead_channel_costs_another_nothing_and_its_notices_become_letters_with_their_reason(tmp_path):
    dead, alive = Scripted(*[LATER] * 1_000), Scripted()

    async def story():
        async with box(tmp_path, {"dead": dead, "alive": alive}, retry=Retry(attempts=3)) as outbox:
            for n in range(5):
                outbox.put(notice(n))
            await until(lambda: outbox.counters["dead"].dead == 5)
        return outbox.counters

    counters = run(story())
    assert [each.id for each in alive.got] == [f"id-{n}" for n in range(5)]
    assert (counters["dead"].sent, counters["dead"].failed_attempts, counters["alive"].sent) == (0, 15, 5)
    letters, damaged = DeadLetters(tmp_path).take()
    assert damaged == 0
    assert [(each.channel, each.reason, each.attempts, each.notice) for each in letters] == [
        ("dead", "HTTP 503", 3, notice(n)) for n in range(5)
    ]


def test_a_channel_that_hangs_holds_up_nobody_and_putting_never_waits(tmp_path):
    stuck, alive = asyncio.Event(), Scripted()
    slow = Scripted(stuck)

    async def story():
        async with box(tmp_path, {"slow": slow, "alive": alive}, retry=Retry(limit_s=60), closing_s=0.05) as outbox:
            for n in range(MOST_WAITING + 7):
                outbox.put(notice(n))
                if n % 50 == 0:
                    await asyncio.sleep(0)
            await until(lambda: len(alive.got) + outbox.counters["alive"].overflowed == MOST_WAITING + 7)
            assert outbox.counters["slow"].overflowed == 7
        return outbox.counters

    counters = run(story())
    assert counters["slow"].dead == MOST_WAITING + 7, "every one that did not arrive is a letter"
    letters, _ = DeadLetters(tmp_path).take()
    of_slow = [each for each in letters if each.channel == "slow"]
    assert {each.notice.id for each in of_slow} == {f"id-{n}" for n in range(MOST_WAITING + 7)}
    begun = next(each for each in of_slow if each.notice.id == "id-0")
    assert (begun.reason, begun.attempts) == ("the process ended before it was delivered", 1)


def test_leaving_waits_for_what_is_on_its_way(tmp_path):
    channel = Scripted(LATER, LATER, None, None)

    async def story():
        async with box(tmp_path, {"a": channel}) as outbox:
            outbox.put(notice(1))
            outbox.put(notice(2))

    run(story())
    assert [each.id for each in channel.got] == ["id-1", "id-2"]
    assert DeadLetters(tmp_path).take() == ([], 0)


def test_a_channel_is_told_from_its_least_severity_on_and_of_every_test(tmp_path):
    channel = Scripted()

    async def story():
        async with Outbox({"a": (channel, "critical")}, DeadLetters(tmp_path)) as outbox:
            for n, severity in enumerate(("info", "warning", "critical")):
                outbox.put(notice(n, severity=severity))
            outbox.put(notice(9, severity="info", event="test"))

    run(story())
    assert [each.id for each in channel.got] == ["id-2", "id-9"]


def test_letters_that_cannot_be_kept_are_counted(tmp_path):
    (tmp_path / "file").write_text("")

    async def story():
        async with box(tmp_path / "file", {"a": Scripted(NEVER)}) as outbox:
            outbox.put(notice())
        return outbox.counters["a"]

    counters = run(story())
    assert (counters.dead, counters.lost) == (1, 1)


# --- dead letters ----------------------------------------------------------------------------------------------


def letter(n=0, channel="slack"):
    return DeadLetter(channel=channel, reason="HTTP 503", attempts=8, gave_up_ns=1, notice=notice(n))


def test_letters_are_kept_for_us_alone_and_taken_once(tmp_path):
    kept = DeadLetters(tmp_path / "alerts")
    assert kept.take() == ([], 0)
    assert kept.add(letter(1))
    assert kept.add(letter(2))
    assert stat.S_IMODE(kept.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.path.parent.stat().st_mode) == 0o700
    assert kept.take() == ([letter(1), letter(2)], 0)
    kept.done()
    assert kept.take() == ([], 0)


def test_a_crash_between_taking_and_sending_loses_nothing_and_what_fails_meanwhile_is_kept_too(tmp_path):
    kept = DeadLetters(tmp_path)
    kept.add(letter(1))
    kept.take()  # and the process dies
    kept.add(letter(2))
    assert DeadLetters(tmp_path).take() == ([letter(1), letter(2)], 0)
    assert DeadLetters(tmp_path).take() == ([letter(1), letter(2)], 0)


def test_a_torn_line_is_counted_and_costs_no_other(tmp_path):
    kept = DeadLetters(tmp_path)
    kept.add(letter(1))
    with kept.path.open("ab") as file:
        file.write(b'{"channel": "sl\n')
    kept.add(letter(2))
    assert kept.take() == ([letter(1), letter(2)], 1)


def test_the_file_has_a_largest_size(tmp_path):
    kept = DeadLetters(tmp_path)
    kept.add(letter(1))
    with kept.path.open("ab") as file:
        file.truncate(LARGEST_BYTES + 1)
    assert not kept.add(letter(2))


def test_a_link_in_its_place_is_not_followed(tmp_path):
    kept = DeadLetters(tmp_path)
    (tmp_path / "elsewhere").write_text("")
    kept.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        kept.add(letter())


# --- the thread ------------------------------------------------------------------------------------------------


def test_a_postman_delivers_from_a_thread_of_its_own_and_never_raises(tmp_path):
    where = []

    class Here(Scripted):
        async def send(self, notice):
            where.append(threading.current_thread().name)
            await super().send(notice)

    channel = Here()
    postman = Postman(lambda: box(tmp_path, {"a": channel}))
    postman.put(notice(0))
    assert postman.dropped == 1, "nobody is there yet"
    postman.start()
    for n in range(20):
        postman.put(notice(n))
    postman.close()
    postman.close()
    assert [each.id for each in channel.got] == [f"id-{n}" for n in range(20)]
    assert set(where) == {"alerts"}
    assert postman.counters["a"].sent == 20
    postman.put(notice(99))
    assert postman.dropped == 2


def test_a_postman_whose_channel_blocks_its_whole_thread_still_takes_what_it_is_given(tmp_path):
    stuck = threading.Event()

    class Blocking(Scripted):
        async def send(self, notice):
            stuck.wait(20)  # what no channel may do, and a library once will
            await super().send(notice)

    channel = Blocking()
    postman = Postman(lambda: box(tmp_path, {"a": channel}))
    postman.start()
    for n in range(2_000):
        postman.put(notice(n))
    assert postman.dropped > 0
    stuck.set()
    postman.close()
    kept, _ = DeadLetters(tmp_path).take()
    assert len(channel.got) + len(kept) + postman.dropped == 2_000


def test_a_stray_error_in_its_loop_is_counted_and_stays_there(tmp_path):
    class Stray(Scripted):
        async def send(self, notice):
            asyncio.get_running_loop().call_soon(lambda: 1 / 0)
            await asyncio.sleep(0)
            await super().send(notice)

    postman = Postman(lambda: box(tmp_path, {"a": Stray()}))
    postman.start()
    postman.put(notice())
    postman.close()
    assert (postman.strays, postman.counters["a"].sent) == (1, 1)


# --- a real receiver, through all of it ------------------------------------------------------------------------


def test_trouble_of_every_kind_at_a_real_receiver_ends_in_one_delivery_of_one_id(tmp_path):
    behaviours = (500, "reset", (429, {"Retry-After": "3"}), "hang", 200)
    waits = Waits()

    async def story():
        async with Receiver(*behaviours) as server:
            channel = CHANNELS["webhook"].channel(settings_of("webhook", tmp_path, server), place(tmp_path))
            retry = Retry(limit_s=0.5)
            async with box(tmp_path, {"webhook": channel}, retry=retry, sleep=waits, closing_s=20) as outbox:
                outbox.put(notice())
            return server, outbox.counters["webhook"]

    server, counters = run(story())
    assert (counters.sent, counters.dead, counters.failed_attempts) == (1, 0, 4)
    assert [headers["Plimsoll-Id"] for _, headers, _ in server.requests] == ["id-0"] * 5
    assert len(set(server.bodies)) == 1
    assert waits.asked[2] == 3
