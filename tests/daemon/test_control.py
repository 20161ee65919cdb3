"""What operators want of a running shell, by file and by signal; and who halts where nobody can."""

import errno
import json
import os
import signal
import threading

import pytest

from bus.errors import ConfigError
from bus.messages import HaltLevel, HaltTrading, ResumeTrading
from daemon.control import Control, bears, token_of
from daemon.deadman import EXIT_STUCK, LOOKS, Deadman
from daemon.state import State


class Desk:
    """An operator's control over a shell that only listens, with a clock of its own."""

    def __init__(self, folder, told=None):
        self.state, self.told, self.now = State(folder), [], 0.0
        self.state.create()
        self.control = Control(self.told.append, self.state, told, clock_s=lambda: self.now)

    def look(self):
        self.now += 0.05
        self.control.poll()
        return [(type(each).__name__, getattr(each, "level", None)) for each in self.told]


def test_a_halt_file_is_told_once_and_again_when_it_says_more(tmp_path):
    desk = Desk(tmp_path)
    assert desk.look() == []
    desk.state.halt(HaltLevel.NO_NEW_RISK, "mo", "news")
    assert desk.look() == desk.look() == [("HaltTrading", HaltLevel.NO_NEW_RISK)]
    desk.state.halt(HaltLevel.FLATTEN, "mo", "worse news")
    assert desk.look()[-1] == ("HaltTrading", HaltLevel.FLATTEN)


def test_what_the_shell_knew_when_it_began_is_not_told_again(tmp_path):
    State(tmp_path).halt(HaltLevel.FLATTEN, "mo", "news")
    assert Desk(tmp_path, told=State(tmp_path).halted()).look() == []


def test_a_file_made_by_hand_that_says_nothing_halts_within_a_tenth_of_a_second(tmp_path):
    desk = Desk(tmp_path)
    desk.look()
    (tmp_path / "halt.json").touch()
    desk.now += 0.1
    desk.control.poll()

    assert [each.level for each in desk.told] == [HaltLevel.NO_NEW_RISK]


def test_taking_the_file_away_by_hand_lifts_nothing(tmp_path):
    desk = Desk(tmp_path)
    desk.state.halt(HaltLevel.FLATTEN, "mo", "news")
    desk.look()
    (tmp_path / "halt.json").unlink()

    assert desk.look() == [("HaltTrading", HaltLevel.FLATTEN)]


def test_resuming_takes_the_file_away_and_tells_the_shell(tmp_path):
    desk = Desk(tmp_path)
    desk.state.halt(HaltLevel.FLATTEN, "mo", "news")
    desk.look()
    desk.control.resume("mo", "checked")

    assert isinstance(desk.told[-1], ResumeTrading)
    assert desk.state.halted() is None


@pytest.mark.parametrize(("operator", "reason", "missing"), [("", "x", "a named operator"), ("mo", " ", "a reason")])
def test_resuming_without_a_name_or_a_reason_is_refused_and_leaves_the_file(tmp_path, operator, reason, missing):
    desk = Desk(tmp_path)
    desk.state.halt(HaltLevel.FLATTEN, "mo", "news")
    with pytest.raises(ConfigError, match=missing):
        desk.control.resume(operator, reason)

    assert desk.state.halted() is not None
    assert desk.state.take_resume() is None


@pytest.mark.parametrize(("number", "level"), [(signal.SIGUSR1, HaltLevel.CANCEL_ENTRIES), (signal.SIGUSR2, 3)])
def test_a_signal_halts(tmp_path, number, level):
    desk = Desk(tmp_path)
    desk.control.signalled(number)
    (told,) = desk.told

    assert isinstance(told, HaltTrading)
    assert (told.level, told.source, told.reason) == (level, "signal", number.name)


def test_the_web_s_token_is_made_once_and_is_its_owner_s_alone(tmp_path):
    token = token_of(tmp_path)

    assert token_of(tmp_path) == token
    assert (tmp_path / "web-token").stat().st_mode & 0o777 == 0o600
    assert bears(f"Bearer {token}", token)
    assert not any(bears(each, token) for each in ("", token, "Bearer ", "Bearer x", f"Basic {token}", "Bearer ü"))


# --- where nobody can ---------------------------------------------------------------------------------------------


def test_a_kill_switch_is_thrown_on_a_full_disk_too(tmp_path, monkeypatch):
    state = State(tmp_path)
    state.create()
    state.arm(HaltLevel.FLATTEN)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        state.spring(HaltLevel.FLATTEN, "the journal cannot be written")
    halted = state.halted()

    assert (halted.level, halted.operator) == (HaltLevel.FLATTEN, "plimsoll")


def test_where_the_disk_takes_it_the_reason_is_written(tmp_path):
    state = State(tmp_path)
    state.spring(HaltLevel.CANCEL_ENTRIES, "watchdog: stuck")

    assert json.loads((tmp_path / "halt.json").read_text())["reason"] == "watchdog: stuck"


def watched(progress):
    """A dead man's switch over a number, until it has ended the process or has looked often enough; gives both."""
    sprung, ended, over = [], [], threading.Event()
    seen = 0

    def looked():
        nonlocal seen
        seen += 1
        if seen > 3 * LOOKS:
            over.set()
        return progress(seen)

    with Deadman(looked, sprung.append, end=lambda status: (ended.append(status), over.set()), look_s=0.001):
        assert over.wait(30)
    return sprung, ended


def test_a_core_that_stands_still_halts_what_comes_next_and_ends_the_process(capfd):
    sprung, ended = watched(lambda _: 7)

    assert ended == [EXIT_STUCK]
    assert "nothing has gone through the core" in sprung[0]
    assert "Current thread" in capfd.readouterr().err  # where it hung


def test_a_core_that_moves_now_and_then_is_left_alone():
    assert watched(lambda seen: seen // (LOOKS - 2)) == ([], [])


def test_the_process_ends_even_where_the_kill_switch_cannot_be_thrown(monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def spring(_):
        raise OSError(errno.EROFS, "Read-only file system")

    with Deadman(lambda: 0, spring, end=lambda _: ended.set(), look_s=0.001):
        assert ended.wait(30)
