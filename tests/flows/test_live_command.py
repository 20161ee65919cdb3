"""`plimsoll run --mode demo` against a venue over TLS: a recorded day, kills, and what is refused."""

import json
import random
import subprocess
import time
from pathlib import Path

import pytest

from bus.messages import LinkChanged, ReconcileFound, RunResumed
from daemon.journal import read, verify
from tests.harness.command import REPOSITORY, fresh_state, last_line, paper_arguments, plimsoll
from tests.harness.live import SHORT, Live, Story, command, environment, write_config
from tests.harness.venue_process import venue_process

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("live")]


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """The recorded day in paper, and the folder with its models."""
    base = tmp_path_factory.mktemp("live")
    (base / "plimsoll.toml").write_text(SHORT)
    return base, last_line(plimsoll(*paper_arguments(base, base / "state")))


def venue_of(base, *more):
    return venue_process("--config", base / "plimsoll.toml", "--pace", "step", *more)


def when_it_stands_still(live, seconds=6.0):
    """Wait until the recorded day is over: nothing new but the clock's own ticks, which recorded time does not have."""
    began = size = live.size()
    since = time.monotonic()
    deadline = time.monotonic() + 240
    while time.monotonic() - since < seconds or size == began:
        assert live.process.poll() is None, live.process.communicate()[1]
        assert time.monotonic() < deadline, f"the day does not end; journal of {size} bytes"
        time.sleep(0.1)
        if live.size() != size:
            size, since = live.size(), time.monotonic()


def test_a_recorded_day_over_the_wire_gives_the_signals_and_fills_of_the_paper_day(day, tmp_path):
    base, paper = day
    with venue_of(base) as venue:
        live = Live(write_config(tmp_path / "demo.toml", venue), fresh_state(base, "demo"), venue)
        when_it_stands_still(live)
        result = json.loads(live.stop().splitlines()[-1])
    ours, theirs = Story(live.journal), Story(Path(paper["journal"]))

    assert ours.forecasts == theirs.forecasts
    unfinished = max(theirs.bars)  # no price comes after it to end it
    assert {opened: ours.bars.get(opened) for opened in theirs.bars if opened != unfinished} == {
        opened: bar for opened, bar in theirs.bars.items() if opened != unfinished
    }
    assert len(theirs.signals) > 5
    assert ours.signals == theirs.signals
    assert len(theirs.fills) > 5
    assert ours.fills == theirs.fills
    assert result["ended"] == "SIGTERM"
    assert result["money_conserved"] is True
    assert Path(result["report"]).is_file()
    records = [record.message for record in read(live.journal)]
    assert not [message for message in records if isinstance(message, ReconcileFound)], "the book equals the venue"
    assert ours.snapshots[-1].balance == ours.fills[-1][-1]
    replayed = last_line(plimsoll("replay", live.journal, "--json"))
    assert replayed["identical"] is True


@pytest.mark.slow
def test_kill_9_while_trading_loses_and_doubles_nothing(day, tmp_path):
    """The venue's market stands still while nobody listens, so the killed day must end like the undisturbed one."""
    base, paper = day
    source = random.Random(5)
    state = fresh_state(base, "killed")
    with venue_of(base) as venue:
        config = write_config(tmp_path / "demo.toml", venue)
        for _ in range(4):
            live = Live(config, state, venue)
            wanted = live.size() + source.randrange(20_000, 120_000)
            deadline = time.monotonic() + 120
            while live.size() < wanted:
                assert live.process.poll() is None, live.process.communicate()[1]
                assert time.monotonic() < deadline
                time.sleep(source.uniform(0.001, 0.02))
            live.kill()
        live = Live(config, state, venue)
        when_it_stands_still(live)
        result = json.loads(live.stop().splitlines()[-1])
    ours = Story(live.journal)
    records = [record.message for record in read(live.journal)]

    assert len(list((state / "runs").iterdir())) == 1, "every start continued the same run"
    assert sum(isinstance(message, RunResumed) for message in records) == 4
    assert verify(live.journal).intact
    assert len(set(ours.orders)) == len(ours.orders)
    assert not [message for message in records if isinstance(message, ReconcileFound)], "the book equals the venue"
    assert [message.up for message in records if isinstance(message, LinkChanged)][-1] is True
    assert result["money_conserved"] is True
    assert result["trades"] > 0
    assert len(ours.fills) >= len(Story(Path(paper["journal"])).fills) - 4, "a crash may cost a signal, not the day"
    assert last_line(plimsoll("replay", live.journal, "--json"))["identical"] is True


def test_flatten_on_stop_leaves_nothing_open_at_the_venue(day, tmp_path):
    base, _ = day
    with venue_of(base) as venue:
        live = Live(
            write_config(tmp_path / "demo.toml", venue, account=1), fresh_state(base, "flat"), venue,
            "--on-stop", "flatten",
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while not (live.journal.is_dir() and live.size() and Story(live.journal).fills):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        live.stop()
    assert Story(live.journal).snapshots[-1].positions == ()


def refused(arguments, venue=None, **more):
    done = subprocess.run(
        arguments, cwd=REPOSITORY, env=environment(venue, **more) if venue else None, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 78, done.stderr
    (line,) = done.stderr.splitlines()
    return line


def test_live_needs_a_word_in_the_configuration_and_one_in_the_environment(day, tmp_path):
    base, _ = day
    with venue_of(base) as venue:
        config = write_config(tmp_path / "demo.toml", venue)
        line = refused(command(config, tmp_path / "s", mode="live"), venue)
        assert "ctrader.allow_live = true" in line
        config = write_config(tmp_path / "live.toml", venue, allow_live="true")
        line = refused(command(config, tmp_path / "s", mode="live"), venue)
        assert "PLIMSOLL_LIVE_ACCOUNT" in line
        line = refused(command(config, tmp_path / "s", mode="live"), venue, PLIMSOLL_LIVE_ACCOUNT="4711")
        assert "1001" in line
        # With both words it asks the broker, and this one has no live accounts.
        state = fresh_state(base, "real")
        line = refused(command(config, state, mode="live"), venue, PLIMSOLL_LIVE_ACCOUNT="1001")
        assert "choose a live account of this login; there are none" in line


def test_what_is_missing_is_said_in_one_line_with_what_to_do(day, tmp_path):
    base, _ = day
    with venue_of(base) as venue:
        config = write_config(tmp_path / "demo.toml", venue)
        assert "plimsoll train" in refused(command(config, tmp_path / "nothing"), venue)
        state = fresh_state(base, "other")
        other = write_config(tmp_path / "other.toml", venue, text=SHORT.replace("EURUSD", "EURUSX"))
        assert "no model for EURUSX" in refused(command(other, state), venue)
        account = write_config(tmp_path / "account.toml", venue, account_id=99)
        assert "1001, 1002" in refused(command(account, state), venue)
        line = refused(command(config, state), {**venue, "access_token": "nonsense-token"})
        assert "auth status" in line
        assert "nonsense-token" not in line
