"""What a training tells a bus, and what a running daemon makes of it."""

import asyncio
import contextlib
import threading
import time
import types

import pytest

from bus.errors import NotSent
from bus.memory import MemoryBus
from bus.messages import ModelsPublished, TrainingEnded, TrainingProgressed, TrainingSaved, TrainingStarted
from bus.nats import connect
from bus.values import NS_PER_HOUR, NS_PER_S
from daemon.config import Config
from daemon.settings import BusSection
from daemon.state import State
from daemon.status import Status
from daemon.trainingbus import Progress, Telling, telling
from daemon.trainingnews import TrainingNews, hearing
from daemon.trainingrun import TrainingRun
from models.registry import Registry
from tests.harness import nats_server
from tests.harness.artifacts import forecaster
from tests.harness.paper import synthetic_quotes
from tests.harness.swaps import SwapDay

pytestmark = pytest.mark.timeout(120)
needs_nats = pytest.mark.skipif(
    bool(nats_server.unavailable()), reason=nats_server.unavailable() or "nats-server is there"
)


def progressed(number, model="tcn", symbol="EURUSD"):
    return TrainingProgressed(run="0001", symbol=symbol, model=model, share_ppm=number, ts_init_ns=number)


def published(release=1, symbol="EURUSD", period_ns=NS_PER_HOUR):
    return ModelsPublished(run="0001", symbol=symbol, period_ns=period_ns, release=release, models=("ridge-0",),
                           active="ridge-0", ts_init_ns=5)  # fmt: skip


STARTED = TrainingStarted(run="0001", symbol="EURUSD", models=("ridge",), bars=9, first_ts_ns=1, last_ts_ns=2,
                          ts_init_ns=3)  # fmt: skip
ENDED = TrainingEnded(run="0001", outcome="finished", reason="", ts_init_ns=6)


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Listener:
    """Hears the training topic of a server from a thread of its own."""

    def __init__(self, url):
        self.heard = []
        self._ready, self._end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._listen(url)))

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join(20)

    async def _listen(self, url):
        bus = await connect(url, name="listener")
        reading = asyncio.create_task(self._read(await bus.subscribe("training")))
        self._ready.set()
        await asyncio.to_thread(self._end.wait)
        reading.cancel()
        with contextlib.suppress(NotSent):
            await bus.close()

    async def _read(self, reader):
        async for message in reader:
            self.heard.append(message)


# ---- telling


@needs_nats
def test_facts_come_in_order_and_of_progress_the_newest_whatever_the_bus_does_meanwhile():
    notes = []
    with nats_server.server() as server, Listener(server.url) as listener:
        with Telling(server.url, "plimsoll", notes.append) as tell:
            tell(STARTED)
            until(lambda: listener.heard == [STARTED])
            server.hold()
            began = time.monotonic()
            for number in range(1, 50_001):
                tell(progressed(number))
                tell(progressed(number, "gru"))
            tell(published())
            took_s = time.monotonic() - began
            waiting = len(tell._newest) + len(tell._facts)
            server.release()
            until(lambda: published() in listener.heard)
            tell(ENDED)
        until(lambda: ENDED in listener.heard)
    assert waiting <= 3  # the newest of two models, and a fact; one batch of them may be on its way
    assert took_s < 60  # it did not wait for the bus, which stood still
    facts = [each for each in listener.heard if not isinstance(each, TrainingProgressed)]
    assert facts == [STARTED, published(), ENDED]
    numbers = {model: [each.share_ppm for each in listener.heard if getattr(each, "model", "") == model]
               for model in ("tcn", "gru")}  # fmt: skip
    for told in numbers.values():
        assert told == sorted(told)
        assert told[-1] == 50_000
        assert len(told) < 100
    assert notes == []


@needs_nats
def test_what_was_published_while_no_bus_was_there_is_told_when_it_is():
    notes = []
    with nats_server.server() as server:
        server.stop()
        with Telling(server.url, "plimsoll", notes.append) as tell:
            tell(published())
            until(lambda: notes)
            tell(published(2))
            server.start()
        assert asyncio.run(kept(server.url)) == 2
    assert len(notes) == 1
    assert "told when it can be" in notes[0]


async def kept(url):
    """How many facts the server's stream holds, whoever listened when."""
    bus = await connect(url, name="late")
    try:
        return (await bus._client.jetstream().stream_info("plimsoll-facts")).state.messages
    finally:
        await bus.close()


def test_without_any_bus_training_ends_all_the_same_and_says_what_was_not_told(monkeypatch):
    monkeypatch.setattr("daemon.trainingbus.LAST_S", 0.5)
    notes = []
    with Telling("nats://127.0.0.1:1", "plimsoll", notes.append) as tell:
        tell(published())
    assert "cannot reach nats://127.0.0.1:1" in notes[0]
    assert "a daemon finds what was published by itself" in notes[-1]


def test_nobody_is_told_where_no_bus_is_configured():
    threads = threading.active_count()
    with telling(BusSection(), pytest.fail) as tell:
        tell(published())
        assert threading.active_count() == threads


def test_what_the_engine_tells_stays_beside_the_share_that_is_done():
    told = []
    progress = Progress("0001", told.append)
    progress.stage("EURUSD: ridge", 0.25)
    figures = {"kind": "epoch", "symbol": "EURUSD", "network": "tcn", "epoch": 2, "epochs": 9, "step": 40,
               "train_loss": 0.5, "validation_loss": float("nan"), "rate": 1e-3, "samples_per_s": 7.0,
               "left_s": 3.0}  # fmt: skip
    progress.record(figures)
    progress.stage("EURUSD: tcn", 0.5)
    progress.record({"kind": "checkpoint", "symbol": "EURUSD", "network": "tcn", "step": 40})
    ridge, epoch, share, saved = told
    assert (ridge.symbol, ridge.model, ridge.share_ppm, ridge.epochs) == ("EURUSD", "ridge", 250_000, 0)
    assert (epoch.share_ppm, epoch.epoch, epoch.train_loss, epoch.validation_loss) == (250_000, 2, 0.5, None)
    assert (share.share_ppm, share.epoch, share.train_loss, share.left_s) == (500_000, 2, 0.5, 3.0)
    assert isinstance(saved, TrainingSaved)
    assert saved.step == 40


def test_a_run_says_what_it_begins_publishes_and_ends_with(tmp_path, monkeypatch):
    """Through the very function of the command, with somebody in the bus's place."""
    from daemon import training
    from daemon.app import load_data
    from daemon.settings import DataSection, ModelsSection
    from tests.harness.pricefiles import write_pairs

    told = []
    monkeypatch.setattr(training, "telling", lambda bus, note: contextlib.nullcontext(told.append))
    write_pairs(tmp_path / "prices", "EURUSD")
    config = Config(data=DataSection(path=str(tmp_path / "prices")), models=ModelsSection(architectures=("ridge",)))
    data = load_data(config)
    run = TrainingRun(tmp_path / "runs" / "a")
    (release,) = training.train_in_a_run(State(tmp_path), config, data, run, show=lambda *_: None, stage=False)
    first, *_, news, last = told
    assert (first.run, first.symbol, first.models, first.bars) == ("a", "EURUSD", ("ridge",), 900)
    assert (news.release, news.models, news.active) == (1, release.models, release.active)
    assert (last.outcome, last.reason) == ("finished", "")
    assert any(isinstance(each, TrainingProgressed) and each.model == "ridge" for each in told)

    told.clear()
    monkeypatch.setattr(training, "train", lambda *_, **__: (_ for _ in ()).throw(SystemExit(130)))
    with pytest.raises(SystemExit):
        training.train_in_a_run(State(tmp_path), config, data, TrainingRun(tmp_path / "runs" / "b"),
                                show=lambda *_: None, stage=False)  # fmt: skip
    assert told[-1].outcome == "stopped"


# ---- hearing


class Hurried:
    def __init__(self):
        self.times = 0

    def hurry(self):
        self.times += 1


async def heard(news, status, *messages):
    """What is told over a bus in this process, until the reader has taken it all."""
    bus, last = MemoryBus(), progressed(0, symbol="LAST")
    async with hearing(bus, news, status):
        while not bus._topics_of:  # noqa: ASYNC110 (the bus has no event for it)
            await asyncio.sleep(0)
        for message in (*messages, last):
            bus.publish(message)
        while all(view.symbol != "LAST" for view in news.views()):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    await bus.close()


def registry_with(folder, *seeds):
    registry = Registry(State(folder).models)
    for seed in seeds:
        registry.publish([forecaster(seed)], active=forecaster(seed).model_id)
    return registry


def test_a_release_that_is_told_of_makes_the_daemon_look_at_once(tmp_path):
    notes, swaps = [], Hurried()
    news = TrainingNews(registry_with(tmp_path, 0), swaps, NS_PER_HOUR, notes.append)
    asyncio.run(heard(news, Status(), published(1)))
    assert swaps.times == 1
    assert notes == []


def test_a_release_of_another_registry_is_said_and_other_bars_are_nobodys_business_here(tmp_path):
    notes, swaps = [], Hurried()
    news = TrainingNews(registry_with(tmp_path, 0), swaps, NS_PER_HOUR, notes.append)
    asyncio.run(heard(news, Status(), published(2), published(1, symbol="GBPUSD"), published(1, symbol="../x"),
                      published(1, period_ns=60 * NS_PER_S)))  # fmt: skip
    assert swaps.times == 0
    assert len(notes) == 3
    assert "EURUSD: release 2 of training run 0001 is not in this daemon's registry" in notes[0]


def test_trainings_stand_on_the_status_page_until_their_end(tmp_path):
    status = Status()
    news = TrainingNews(registry_with(tmp_path), Hurried(), NS_PER_HOUR, lambda _: None)
    asyncio.run(heard(news, status, STARTED, progressed(300_000), progressed(1, symbol="GBPUSD"), ENDED))
    views = {each.symbol: each for each in status.snapshot(0.0).trainings}
    assert (views["EURUSD"].state, views["EURUSD"].share, views["EURUSD"].model) == ("finished", 1.0, "tcn")
    assert set(views) == {"EURUSD", "GBPUSD", "LAST"}
    for number in range(200):
        asyncio.run(news.hear(progressed(number, symbol=f"S{number}")))
    assert len(news.views()) == 64


def test_the_lookout_looks_when_it_is_told_to_and_not_before(tmp_path):
    registry_with(tmp_path, 0)
    seen = types.SimpleNamespace(before=None, after=None)

    def act(day):
        day.look()
        day.registry.publish([forecaster(1)], active=forecaster(1).model_id)
        day.swaps.poll()
        seen.before = day.swaps.busy
        day.swaps.hurry()
        day.swaps.poll()
        seen.after = day.swaps.busy
        day._settle()

    day = SwapDay(tmp_path, list(synthetic_quotes(60)), {30: act})
    asyncio.run(day.run())
    assert (seen.before, seen.after) == (False, True)
    assert forecaster(1).model_id in day.engine.core.successions["EURUSD"].members


def test_without_a_bus_nothing_is_read(tmp_path):
    status = Status()

    async def nobody():
        async with hearing(None, TrainingNews(registry_with(tmp_path), Hurried(), 1, lambda _: None), status):
            return len(asyncio.all_tasks())

    assert asyncio.run(nobody()) == 1
    assert status.snapshot(0.0).trainings == ()
