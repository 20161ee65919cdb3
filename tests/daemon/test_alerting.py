"""Alerts around a run: they read everything, reach nobody who trades, and survive a restart."""

import asyncio
import json

import msgspec
import pytest

from adapters.notify.channels.log import FILE_NAME
from adapters.notify.contract import Notice
from adapters.notify.deadletters import DeadLetter, DeadLetters
from bus.errors import InvariantBroken
from bus.messages import HaltLevel, HaltTrading, RunResumed
from daemon.alerting import Alerting, alerting, dead_letters
from daemon.cli import cli
from daemon.config import explain, load
from daemon.journal import INPUT, Journal, read
from daemon.settings import AlertsSection
from daemon.state import State
from risk.alerts import Alerts
from tests.harness.aio import run, until
from tests.harness.alerts import latched, lifted, link, opening, trade
from tests.harness.notify import KEY, SECRET_WORD, Receiver, notice, private
from tests.harness.paper import Day, synthetic_quotes


@pytest.fixture(autouse=True)
def empty_surroundings(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.delenv("PLIMSOLL_PROFILE", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def watcher(folder, told_to=0, section=None):
    notices = []
    alerts = Alerting(section or AlertsSection(), notices.append, run="0001", mode="demo", folder=folder,
                      told_to=told_to)  # fmt: skip
    return alerts, notices


def shown(notices):
    return [(each.event, each.rule, each.subject) for each in notices]


def feed(alerts, messages, first=1):
    for seq, message in enumerate(messages, first):
        alerts.watch(seq, message)


STORY = [*opening(), link(False), latched(), link(True)]


def test_what_is_raised_and_over_is_told_once_each_with_an_id_of_its_own(tmp_path):
    alerts, notices = watcher(tmp_path)
    feed(alerts, [*STORY, lifted()])
    assert shown(notices) == [
        ("raised", "connection", "venue"), ("raised", "halt", "daily_loss"), ("cleared", "connection", "venue"),
        ("cleared", "halt", "daily_loss"),
    ]  # fmt: skip
    assert len({each.id for each in notices}) == 4
    assert {(each.run, each.mode) for each in notices} == {("0001", "demo")}


def test_after_a_restart_only_what_is_still_open_is_told_again_under_the_id_that_it_had(tmp_path):
    first, before = watcher(tmp_path)
    feed(first, STORY)
    again, after = watcher(tmp_path, told_to=len(STORY))
    feed(again, [*STORY, RunResumed(reason="continued", ts_init_ns=1), link(False), lifted()])
    assert shown(after) == [
        ("open", "halt", "daily_loss"), ("raised", "connection", "venue"), ("cleared", "halt", "daily_loss"),
    ]  # fmt: skip
    assert after[0].id == before[1].id


def test_a_fold_that_fails_is_told_and_costs_the_run_nothing(tmp_path, monkeypatch):
    alerts, notices = watcher(tmp_path)
    feed(alerts, opening())

    def broken(*_):
        raise KeyError("a bug")

    monkeypatch.setattr(Alerts, "on", broken)
    alerts.watch(9, link(False))
    alerts.watch(10, link(True))
    assert shown(notices) == [("raised", "stopped", "alerts")]
    assert "record 9: KeyError" in notices[0].value


def test_a_disk_without_room_and_a_clock_that_was_set_are_told(tmp_path, monkeypatch):
    alerts, notices = watcher(tmp_path, section=AlertsSection(disk_free_mb=10**9))
    alerts.look()
    assert shown(notices) == [("raised", "disk", str(tmp_path))]
    steady = 0
    monkeypatch.setattr("daemon.alerting.time.monotonic_ns", lambda: steady)
    alerts.look()  # half a century between two looks
    assert shown(notices)[1:] == [("raised", "clock_step", "this machine")]
    monkeypatch.setattr("daemon.alerting.time.time_ns", lambda: alerts._wall_less_steady_ns)
    alerts.look()
    assert shown(notices)[2:] == [("cleared", "clock_step", "this machine")]


def test_a_run_without_alerts_decides_the_same(tmp_path):
    told, notices = watcher(tmp_path)
    with_alerts = Day(tmp_path / "a", synthetic_quotes(300), watch=[told.watch]).run()
    without = Day(tmp_path / "b", synthetic_quotes(300)).run()
    assert not told.failed
    assert with_alerts.decisions == without.decisions
    assert with_alerts.engine.journal.digest == without.engine.journal.digest
    assert not [each for each in notices if each.rule == "books"]


def test_a_day_that_is_taken_up_again_tells_the_rest_and_nothing_twice(tmp_path):
    def day(folder, told_to):
        alerts, notices = watcher(tmp_path, told_to=told_to, section=AlertsSection(slippage_ppm=1))
        made = Day(folder, synthetic_quotes(400), watch=[alerts.watch])
        return made, notices

    whole, all_of_it = day(tmp_path / "whole", 0)
    whole.run()
    assert len(all_of_it) > 4
    first, told_first = day(tmp_path / "cut", 0)
    first.shell.on_breath = lambda *, waiting: first.shell.stop("x") if first.shell.quotes_done > 200 else None
    first.run()
    assert first.reason == "x"
    last = list(read(tmp_path / "cut"))[-1].seq
    second, told_second = day(tmp_path / "cut", last)
    second.run()
    ids = [each.id for each in told_first] + [each.id for each in told_second if each.event != "open"]
    assert ids == [each.id for each in all_of_it]


def test_nothing_is_folded_before_the_loop_has_its_turn_and_no_turn_is_long(tmp_path):
    async def story():
        notices, turns = [], 0
        loop = asyncio.get_running_loop()
        alerts = Alerting(AlertsSection(), notices.append, run="1", mode="demo", folder=tmp_path, told_to=0, loop=loop)
        feed(alerts, [*STORY, *(message for n in range(3_000) for message in trade(f"t{n}"))])
        assert notices == []
        while alerts._waiting:
            turns += 1
            await asyncio.sleep(0)
        assert shown(notices)[:3] == shown(quiet[1])[:3]
        return turns

    quiet = watcher(tmp_path)
    feed(quiet[0], STORY)
    assert run(story()) > 3


def test_a_fold_that_falls_behind_catches_up_before_memory_grows(tmp_path, monkeypatch):
    monkeypatch.setattr("daemon.alerting.MOST_WAITING", 100)

    async def story():
        notices = []
        loop = asyncio.get_running_loop()
        alerts = Alerting(AlertsSection(), notices.append, run="1", mode="demo", folder=tmp_path, told_to=0, loop=loop)
        for n in range(50):
            feed(alerts, STORY, 1 + n * len(STORY))
            assert len(alerts._waiting) <= 100
        return notices

    assert run(story())


# --- the context -----------------------------------------------------------------------------------------------


def test_an_error_that_ends_a_run_is_told_on_the_way_out_and_goes_on(tmp_path):
    state = State(tmp_path / "state")
    state.create()
    new = state.new_run()

    async def story(error):
        async with alerting(load(), state, new, mode="demo", told_to=0, note=lambda _: None):
            raise error

    for error in (OSError(28, "No space left on device"), InvariantBroken("the books")):
        with pytest.raises(type(error)):
            run(story(error))
    lines = (new.folder / FILE_NAME).read_bytes().splitlines()
    told = [msgspec.json.decode(line, type=Notice) for line in lines]
    assert shown(told) == [("raised", "journal", "run"), ("raised", "stopped", "run")]
    assert "No space left" in told[0].value


def configured(tmp_path, server, **more):
    lines = ["[alerts.webhook]", "enabled = true", f'url_file = "{private(tmp_path / "url", server.url)}"',
             f'key_file = "{private(tmp_path / "key", KEY)}"']  # fmt: skip
    text = "\n".join(["[alerts]", *(f"{key} = {value}" for key, value in more.items()), *lines])
    (tmp_path / "plimsoll.toml").write_text(text)
    return load(tmp_path / "plimsoll.toml")


@pytest.mark.parametrize(
    ("mode", "paper", "reached"), [("demo", "false", 2), ("paper", "false", 0), ("paper", "true", 2)]
)
def test_a_paper_day_tells_nobody_outside_unless_that_is_wanted(tmp_path, mode, paper, reached):
    state = State(tmp_path / "state")
    state.create()
    new = state.new_run()

    async def story():
        async with Receiver() as server:
            config = configured(tmp_path, server, paper=paper)
            async with alerting(config, state, new, mode=mode, told_to=0, note=lambda _: None) as alerts:
                feed(alerts, [*opening(), link(False), link(True)])
            return len(server.requests)

    assert run(story()) == reached
    assert len((new.folder / FILE_NAME).read_bytes().splitlines()) == 2


def test_a_receiver_that_hangs_delays_neither_the_watcher_nor_the_end_for_long(tmp_path):
    state = State(tmp_path / "state")
    state.create()
    new = state.new_run()
    said = []

    async def story():
        loop = asyncio.get_running_loop()
        async with Receiver("hang") as server:
            config = configured(tmp_path, server)
            async with alerting(config, state, new, mode="demo", told_to=0, note=said.append) as alerts:
                feed(alerts, [*opening(), link(False)])
                await until(lambda: server.requests)  # it hangs there now
                began = loop.time()
                for n in range(2_000):
                    feed(alerts, trade(f"t{n}"), 100 + 3 * n)
                assert loop.time() - began < 10
            return loop.time() - began

    assert run(story()) < 20
    letters, _ = dead_letters(state).take()
    assert letters[0].notice.rule == "connection"
    assert {each.channel for each in letters} == {"webhook"}
    assert said[-1] == f"{len(letters)} alerts were not delivered; `plimsoll alerts resend` tries again"


# --- commands --------------------------------------------------------------------------------------------------


def command(*arguments, capsys):
    code = cli.main([str(each) for each in arguments], standalone_mode=False)
    captured = capsys.readouterr()
    assert SECRET_WORD not in captured.out + captured.err
    return code, captured.out, captured.err


def journal(folder, messages):
    made = Journal(folder)
    for message in messages:
        made.append(INPUT, message)
    made.close()
    return folder


def test_alerts_are_listed_from_a_journal_alone(tmp_path, capsys):
    folder = journal(tmp_path / "journal", [*STORY, *trade("a", 300)])
    code, out, _ = command("alerts", "list", folder, "--state", tmp_path / "s", capsys=capsys)
    assert code == 0
    lines = out.splitlines()
    assert [line.split()[3:6] for line in lines[:-1]] == [
        ["critical", "connection", "venue:"], ["critical", "halt", "daily_loss:"], ["over", "connection", "venue:"],
        ["warning", "slippage", "EURUSD:"],
    ]  # fmt: skip
    assert lines[-1] == "3 raised, 2 still open"
    _, out, _ = command("alerts", "list", folder, "--open", "--json", "--state", tmp_path / "s", capsys=capsys)
    assert [(each["rule"], each["seq"]) for each in json.loads(out)["alerts"]] == [("halt", 5), ("slippage", 8)]


def test_every_rule_is_listed_with_what_it_is_for(tmp_path, capsys):
    (tmp_path / "p.toml").write_text('[alerts]\noff = ["drift"]\n')
    _, out, _ = command("alerts", "rules", "--json", "--config", tmp_path / "p.toml", capsys=capsys)
    rows = json.loads(out)["rules"]
    assert [each["rule"] for each in rows if not each["on"]] == ["drift"]
    code, out, _ = command("alerts", "rules", capsys=capsys)
    assert code == 0
    assert all(each["rule"] in out for each in rows)


class Server:
    """A receiver in a thread, for commands that run a loop of their own."""

    def __init__(self, *behaviours):
        import threading

        self.receiver = Receiver(*behaviours)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def _serve(self):
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with self.receiver:
            self._ready.set()
            await self._over.wait()

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(10)
        return self.receiver

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)


def test_a_test_says_of_every_channel_whether_it_arrived(tmp_path, capsys):
    with Server(200, 404) as server:
        configured(tmp_path, server)
        common = ("--config", tmp_path / "plimsoll.toml", "--state", tmp_path / "s")
        code, out, _ = command("alerts", "test", *common, capsys=capsys)
        assert (code, out.splitlines()) == (0, ["log        arrived", "webhook    arrived"])
        code, out, _ = command("alerts", "test", "--json", *common, capsys=capsys)
        assert code == 1
        assert json.loads(out)["channels"] == {
            "log": {"ok": True, "reason": ""}, "webhook": {"ok": False, "reason": "HTTP 404"},
        }  # fmt: skip
        assert [json.loads(body)["event"] for body in server.bodies] == ["test", "test"]


def test_dead_letters_are_sent_again_and_what_fails_again_is_kept(tmp_path, capsys):
    state = State(tmp_path / "s")
    kept = dead_letters(state)
    for n, channel in enumerate(("webhook", "webhook", "slack")):
        kept.add(DeadLetter(channel=channel, reason="HTTP 503", attempts=8, gave_up_ns=1, notice=notice(n)))
    with Server(200, 404) as server:
        configured(tmp_path, server)
        common = ("--config", tmp_path / "plimsoll.toml", "--state", tmp_path / "s")
        code, out, _ = command("alerts", "resend", *common, capsys=capsys)
        assert code == 1
        assert out.splitlines() == ["1 sent, 2 kept for another time", "  webhook: HTTP 404",
                                    "  slack: that channel is not on"]  # fmt: skip
        letters, _ = DeadLetters(tmp_path / "s" / "alerts").take()
        assert [(each.channel, each.notice.id, each.attempts) for each in letters] == [
            ("webhook", "id-1", 9), ("slack", "id-2", 8),
        ]  # fmt: skip
        server.behaviours[:] = [200]
        code, out, _ = command("alerts", "resend", "--json", *common, capsys=capsys)
        assert json.loads(out)["sent"] == 1
    assert [json.loads(body)["id"] for body in server.bodies] == ["id-0", "id-1", "id-1"]


def test_nothing_to_send_again_is_no_error(tmp_path, capsys):
    code, out, _ = command("alerts", "resend", "--state", tmp_path / "s", capsys=capsys)
    assert (code, out) == (0, "0 sent, 0 kept for another time\n")


def test_no_secret_stands_in_what_the_configuration_shows(tmp_path):
    class Fake:
        url = f"https://hooks.example.org/{SECRET_WORD}"

    config = configured(tmp_path, Fake)
    assert SECRET_WORD not in explain(config)
    assert "url_file" in explain(config)


def test_a_halt_that_latches_in_a_real_day_is_told(tmp_path):
    alerts, notices = watcher(tmp_path)
    day = Day(tmp_path / "j", synthetic_quotes(60), watch=[alerts.watch])
    halt = HaltTrading(level=HaltLevel.FLATTEN, source="operator", operator="ada", reason="enough", ts_init_ns=0)
    day.shell.tell(halt)
    day.run()
    assert [each.subject for each in notices if each.rule == "halt"] == ["operator"]
    assert "FLATTEN: ada: enough" in next(each.value for each in notices if each.rule == "halt")
