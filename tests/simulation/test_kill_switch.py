"""The kill switch from every state by every trigger, against the whole live daemon in virtual time.

What is asserted, and how long it may take, is written in tests/harness/killswitch.py.

All of it (50 seeds a cell):   make kill-switch
One cell, one seed:            PLIMSOLL_SEED=12 pytest tests/simulation/test_kill_switch.py -k "resting-file"
"""

import os

import pytest

import daemon.engine
from adapters.ctrader.dispatch import Dispatcher
from bus.messages import CancelOrder, HaltLevel, HaltTrading
from daemon.control import Control
from daemon.core import Core
from daemon.engine import Engine
from daemon.live import LiveShell
from risk.halt import Halts
from tests.harness.killswitch import STATES, TRIGGERS, cell

ALONE = os.environ.get("PLIMSOLL_SEED")
SEEDS = range(int(os.environ.get("PLIMSOLL_SEEDS", "2")))
CELLS = [(state, trigger) for state in STATES for trigger in TRIGGERS]


def ran(state, trigger, seed, folder, plant=None):
    """One run, with a bug in it or without."""
    patch = pytest.MonkeyPatch()
    try:
        if plant is not None:
            plant(patch)
        return cell(state, trigger, seed, folder / f"{state}-{trigger}-{seed}", patch)
    finally:
        patch.undo()


@pytest.mark.slow
@pytest.mark.parametrize(("state", "trigger"), CELLS, ids=[f"{state}-{trigger}" for state, trigger in CELLS])
def test_the_kill_switch_works_in_time_and_holds(state, trigger, tmp_path, record_property):
    seeds = [int(ALONE)] if ALONE else SEEDS
    worst = {}
    for seed in seeds:
        problems, took = ran(state, trigger, seed, tmp_path)
        how = f'PLIMSOLL_SEED={seed} .venv/bin/pytest tests/simulation/test_kill_switch.py -k "{state}-{trigger}"'
        assert not problems, f"{state}, {trigger}, seed {seed}; alone: {how}\n" + "\n".join(problems[:10])
        for what, seconds in took.items():
            if seconds is not None:
                worst[what] = max(seconds, worst.get(what, 0.0))
    record_property("seeds", len(seeds))
    record_property("took", (f"{state}, {trigger}", worst))


# --- who audits the matrix? ---------------------------------------------------------------------------------------


def wrap(patch, owner, name, make):
    """Replace a function by one made of it."""
    patch.setattr(owner, name, make(getattr(owner, name)))


def a_latched_halt_is_not_loaded_again(patch):
    def make(again):
        def planted(engine, message):
            said = again(engine, message)
            if isinstance(message, HaltTrading):
                engine.core.halts.level = HaltLevel.NONE
            return said

        return planted

    wrap(patch, Engine, "_again", make)


def a_latched_halt_is_not_durable(patch):
    patch.setattr(daemon.engine, "DURABLE", daemon.engine.COMMANDS)


def what_is_flattened_is_tried_once(patch):
    patch.setattr(Core, "_protect", lambda core, out: None)


def cancels_are_forgotten(patch):
    patch.setattr(Core, "_cancel_entries", lambda core, reason, out: None)


def cancels_do_not_leave(patch):
    def make(send):
        return lambda dispatcher, command: None if isinstance(command, CancelOrder) else send(dispatcher, command)

    wrap(patch, Dispatcher, "send", make)


def an_exception_in_the_valuation_swallows_the_halt(patch):
    """As where halting, closing and valuing stand in one `try`."""

    def make(method):
        def planted(core, *arguments):
            if not core.book.blind:
                method(core, *arguments)

        return planted

    for name in ("_flatten", "_guard"):
        wrap(patch, Core, name, make)


def the_halt_file_is_looked_at_every_second(patch):
    patch.setattr("daemon.control._POLL_S", 1.0)


def signals_are_not_heard(patch):
    patch.setattr(Control, "signalled", lambda control, number: None)


def losses_are_not_looked_at(patch):
    patch.setattr(Halts, "check", lambda halts, book, policy, now_ns: None)


def a_journal_that_fails_just_ends_the_run(patch):
    def planted(shell, error):
        raise error

    patch.setattr(LiveShell, "_go_adrift", planted)


def a_mismatch_is_put_up_with(patch):
    patch.setattr("daemon.core.compare", lambda book, snapshot: [])


PLANTED = {
    a_latched_halt_is_not_loaded_again: ("protected", "operator"),
    a_latched_halt_is_not_durable: ("protected", "operator"),
    what_is_flattened_is_tried_once: ("in_flight", "operator"),
    cancels_are_forgotten: ("resting", "operator"),
    cancels_do_not_leave: ("resting", "operator"),
    an_exception_in_the_valuation_swallows_the_halt: ("valuation_raises", "operator"),
    the_halt_file_is_looked_at_every_second: ("idle", "file"),
    signals_are_not_heard: ("idle", "signal"),
    losses_are_not_looked_at: ("protected", "loss"),
    a_journal_that_fails_just_ends_the_run: ("protected", "journal"),
    a_mismatch_is_put_up_with: ("idle", "reconcile"),
}


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant, tmp_path):
    state, trigger = PLANTED[plant]
    for seed in range(10):
        try:
            problems, _ = ran(state, trigger, seed, tmp_path, plant)
        except Exception:  # noqa: BLE001  # whatever it dies of is what the seed found
            return
        if problems:
            return
    pytest.fail(f"{plant.__name__} went unnoticed through 10 seeds of {state}, {trigger}")
