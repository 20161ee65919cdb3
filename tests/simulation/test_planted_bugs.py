"""Who audits the auditor? Each test plants one bug; the simulation must find it within 200 seeds."""

from types import SimpleNamespace

import msgspec
import pytest

import daemon.core
import daemon.engine
import risk.gate
import risk.limits
from adapters.exchange.matching import Matcher
from bus.messages import CalibratedForecast, HaltLevel, HaltTrading, SubmitOrder
from bus.values import NS_PER_HOUR
from daemon.core import Core
from daemon.engine import Engine
from daemon.journal import Journal
from daemon.market import Market
from daemon.paper import PaperShell
from models.bars import BarBuilder
from risk.book import Book
from risk.halt import Halts
from risk.orders import OrderTable
from tests.harness.verdicts import problems_of

SEEDS = 200


def wrap(monkeypatch, owner, name, make):
    """Replace a function by one made of it."""
    monkeypatch.setattr(owner, name, make(getattr(owner, name)))


def reviewed(change):
    """A gate whose answer, where it is an order, is changed."""

    def make(review):
        def planted(*args, **kwargs):
            answer = review(*args, **kwargs)
            return change(answer) if isinstance(answer, SubmitOrder) else answer

        return planted

    return make


def deals_are_not_deduplicated(patch):
    def make(on_filled):
        def planted(book, fact):
            book._deals.clear()
            return on_filled(book, fact)

        return planted

    wrap(patch, Book, "_on_filled", make)


def orders_leave_before_they_are_durable(patch):
    patch.setattr(Journal, "commit", lambda journal: None)


def halts_are_not_made_durable(patch):
    patch.setattr(daemon.engine, "DURABLE", daemon.engine.COMMANDS)


def a_halt_is_forgotten_by_recovery(patch):
    def make(again):
        def planted(engine, message):
            said = again(engine, message)
            if isinstance(message, HaltTrading):
                engine.core.halts.level = HaltLevel.NONE
            return said

        return planted

    wrap(patch, Engine, "_again", make)


def stops_are_dropped_from_orders(patch):
    wrap(patch, daemon.core, "review", reviewed(lambda order: msgspec.structs.replace(order, stop_loss_e5=0)))


def the_gate_ignores_orders_in_flight(patch):
    def blind(book):
        return SimpleNamespace(positions=book.positions, orders={}, foreign=book.foreign)

    wrap(patch, risk.limits.check, "count_all", lambda count: lambda book, *asked: count(blind(book), *asked))


def sizing_rounds_up(patch):
    def make(size_e2):
        def planted(intent, settings, instrument, **kwargs):
            floored = size_e2(intent, settings, instrument, **kwargs)
            return floored + instrument.step_volume_e2 if floored else 0

        return planted

    wrap(patch, risk.gate, "size_e2", make)


def exits_are_larger_than_the_position(patch):
    def twice(order):
        return msgspec.structs.replace(order, volume_e2=2 * order.volume_e2) if order.position_id else order

    wrap(patch, daemon.core, "review", reviewed(twice))


def forecasts_are_used_after_their_deadline(patch):
    def make(ask):
        def planted(market, *arguments):
            request = ask(market, *arguments)
            market.asked[request.request_id].deadline_ns += NS_PER_HOUR
            return request

        return planted

    wrap(patch, Market, "ask", make)


def the_calibrator_learns_the_future(patch):
    def make(resolve):
        def planted(market, *arguments):
            market.bar_index += 1
            resolved = resolve(market, *arguments)
            market.bar_index -= 1
            return resolved

        return planted

    wrap(patch, Market, "resolve", make)


def bars_close_late(patch):
    patch.setattr(BarBuilder, "on_time", lambda builder, now_ns: None)


def swap_is_folded_twice(patch):
    def make(on_swap):
        def planted(book, fact):
            folded = on_swap(book, fact)
            if folded and fact.position_id in book.positions:
                book.positions[fact.position_id].swap += fact.amount
                book._floating += fact.amount
            return folded

        return planted

    wrap(patch, Book, "_on_swap", make)


class ClosedOnly:
    """A book whose equity is its balance."""

    def __init__(self, book):
        self.balance = self.equity = book.balance
        self.watermarks = book.watermarks


def losses_are_measured_on_closed_trades_only(patch):
    wrap(patch, Halts, "check", lambda check: lambda halts, book, *rest: check(halts, ClosedOnly(book), *rest))


def a_refused_close_is_repeated_without_a_pause(patch):
    patch.setattr(daemon.core, "EXIT_RETRY_NS", 0)


def the_gate_does_not_look_at_halts(patch):
    def make(review):
        return lambda *args, **kwargs: review(*args, **{**kwargs, "halt_level": HaltLevel.NONE})

    wrap(patch, daemon.core, "review", make)


def the_rate_of_orders_is_not_counted(patch):
    patch.setattr(OrderTable, "sent_in_last_minute", lambda table, now_ns: 0)


def without(rule):
    """The limits, less one."""

    def planted(patch):
        kept = tuple(entry for entry in risk.limits.RULES if entry[0] is not rule)
        patch.setattr(risk.limits, "ASKED", risk.limits.in_order(kept))

    planted.__name__ = f"no_{rule.__name__}_limit"
    return planted


def entries_that_come_to_rest_after_a_halt_stay(patch):
    patch.setattr(Core, "_cancel_again", lambda core, out: None)


def the_venue_forgets_the_stop_of_the_rest_of_an_order(patch):
    def planted(matcher, position, order, now_ns, facts):
        if order.protects:
            levels = order.stop_loss_e5, order.take_profit_e5, order.trailing_e5
            matcher.set_levels(position, *levels, now_ns, facts)
            order.stop_loss_e5 = order.take_profit_e5 = order.trailing_e5 = 0

    patch.setattr(Matcher, "_attach", planted)


def what_is_left_open_at_the_end_is_not_tried_again(patch):
    patch.setattr("daemon.paper._LAST_ROUNDS", 0)


def operators_are_not_told_again_by_recovery(patch):
    async def planted(shell):
        while isinstance(shell.engine.next_recorded(), HaltTrading):
            shell.engine._next = next(shell.engine._records, None)

    patch.setattr(PaperShell, "_outside_as_recorded", planted)


def flattening_stops_after_the_first_try(patch):
    patch.setattr(Core, "_protect", lambda core, out: None)


def a_model_in_shadow_trades(patch):
    def make(on_forecast):
        def planted(core, forecast):
            said = list(on_forecast(core, forecast))
            for answer in [each for each in said if isinstance(each, CalibratedForecast) and not each.active]:
                for strategy in core.strategies:
                    core._decide(strategy.on_forecast(answer, core.view), said)
            return said

        return planted

    wrap(patch, Core, "_on_forecast", make)


def the_first_model_goes_on_deciding_after_a_swap(patch):
    def make(answer):
        def planted(market, forecast, now_ns):
            calibrated = answer(market, forecast, now_ns)
            first = next(iter(market.succession.members), "")
            if isinstance(calibrated, CalibratedForecast) and calibrated.model_id == first:
                return msgspec.structs.replace(calibrated, active=True)
            return calibrated

        return planted

    wrap(patch, Market, "answer", make)


PLANTED = [
    (deals_are_not_deduplicated, False),
    (orders_leave_before_they_are_durable, False),
    (halts_are_not_made_durable, False),
    (a_halt_is_forgotten_by_recovery, True),
    (stops_are_dropped_from_orders, False),
    (the_gate_ignores_orders_in_flight, False),
    (sizing_rounds_up, False),
    (exits_are_larger_than_the_position, False),
    (forecasts_are_used_after_their_deadline, False),
    (the_calibrator_learns_the_future, False),
    (bars_close_late, False),
    (swap_is_folded_twice, False),
    (losses_are_measured_on_closed_trades_only, False),
    (a_refused_close_is_repeated_without_a_pause, False),
    (the_gate_does_not_look_at_halts, False),
    (the_rate_of_orders_is_not_counted, False),
    (without(risk.limits.market.stale_quote), False),
    (without(risk.limits.market.spread), False),
    (without(risk.limits.sizes.exposure), False),
    (without(risk.limits.sizes.margin), False),
    (entries_that_come_to_rest_after_a_halt_stay, False),
    (the_venue_forgets_the_stop_of_the_rest_of_an_order, False),
    (what_is_left_open_at_the_end_is_not_tried_again, False),
    (operators_are_not_told_again_by_recovery, True),
    (flattening_stops_after_the_first_try, False),
    (a_model_in_shadow_trades, False),
    (the_first_model_goes_on_deciding_after_a_swap, False),
]
NAMES = [plant.__name__.replace("_", " ") for plant, _ in PLANTED]


@pytest.mark.parametrize(("plant", "crashes"), PLANTED, ids=NAMES)
def test_a_planted_bug_is_found_within_200_seeds(plant, crashes, tmp_path, monkeypatch):
    plant(monkeypatch)
    for seed in range(SEEDS):
        if problems_of(seed, tmp_path / "sim", monkeypatch, crashes=crashes):
            return
    pytest.fail(f"{plant.__name__} went unnoticed through {SEEDS} seeds")
