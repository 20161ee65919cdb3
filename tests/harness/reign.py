"""Who trades a symbol, as a journal alone says it, and what rivals of the model in force a disaster draws.

`Reign` folds a journal without the core's succession: it knows admissions, promotions and roll-backs, and complains of
every decision that is not one model's, or not that of the model in force. `Rivals` draws models that come while a day
goes, speak loudly against the one in force, owe forecasts, and are promoted and gone back to by rule and by command.
"""

import math
from collections.abc import Iterable

import msgspec

import risk.promotion
from bus.messages import (
    CalibratedForecast,
    ForecastMissed,
    HorizonForecast,
    Intent,
    ModelAdmitted,
    ModelPromoted,
    ModelRetired,
    ModelRolledBack,
    PromoteModel,
    RollBackModel,
)
from risk.promotion import SwapPolicy

FIRST = "scripted-0"
STRANGER = "scripted-9"
"""A model that is asked for, and that nobody admits."""


class Reign:
    """One journal, record by record. `in_force` is who trades each symbol by now."""

    def __init__(self):
        self.in_force = {}
        self.problems = []
        self.swaps = 0
        self._known, self._decided = set(), {}

    def add(self, message):
        symbol = getattr(message, "symbol", "")
        match message:
            case ModelAdmitted():
                self._known.add((symbol, message.model_id))
                if message.active:
                    self.in_force[symbol] = message.model_id
            case ModelPromoted() | ModelRolledBack():
                self.swaps += 1
                if message.replaced != self.in_force.get(symbol) or (symbol, message.model_id) not in self._known:
                    self.problems.append(f"{message} while {self.in_force.get(symbol)} was in force")
                self.in_force[symbol] = message.model_id
            case ModelRetired():
                self._known.discard((symbol, message.model_id))
                if message.model_id == self.in_force.get(symbol):
                    self.problems.append(f"{message.model_id} was retired and trades")
            case CalibratedForecast(active=True):
                if message.model_id != self.in_force.get(symbol):
                    self.problems.append(
                        f"{message.request_id}: {message.model_id} was to decide, not {self.in_force.get(symbol)}"
                    )
                if self._decided.setdefault(message.request_id, message.model_id) != message.model_id:
                    self.problems.append(f"{message.request_id} was decided twice")
            case CalibratedForecast() if not message.model_id:
                self.problems.append(f"{message.request_id}: a forecast without a model")
            case Intent(request_id=request_id) if request_id:
                if self._decided.get(request_id) != message.model_id:
                    self.problems.append(
                        f"intent {message.intent_id} of {message.model_id}, but {self._decided.get(request_id)} decided"
                    )
            case _:
                pass

    def over(self):
        """Everything that was wrong; a journal in which nobody trades is wrong too."""
        if not self.in_force:
            self.problems.append("nobody is in force")
        return self.problems


def reign_of(messages: Iterable):
    """A whole journal's messages."""
    reign = Reign()
    for message in messages:
        reign.add(message)
    return reign


def mixed(messages):
    """What in a journal is not the decision of one model, and of the one in force: a list of complaints."""
    return reign_of(messages).over()


class Rivals:
    """What a seed draws of models.

    Args:
        dice: of the seed, for this purpose alone.
        symbols: that are traded.
        horizons: of the first model; a rival answers all of them or the shortest.
    """

    def __init__(self, dice, symbols, horizons):
        self._dice, self._symbols, self._horizons = dice, symbols, horizons
        self.names = [f"scripted-{n}" for n in range(1, 1 + dice.choice((0, 1, 2, 2)))]
        self._spans = {name: dice.choice((horizons, horizons[:1], horizons[:1])) for name in self.names}
        self._hostile = {name: dice.random() < 0.7 for name in self.names}
        self._owes = {name: dice.choice((0.0, 0.1, 0.6)) for name in self.names}
        self._owes[FIRST] = dice.choice((0.0, 0.0, 0.1))

    def policy(self):
        """Swaps that are decided quickly; `hasten` makes the shortest comparison possible."""
        return SwapPolicy(
            promote=self._dice.choice(("rule", "rule", "command")), roll_back=self._dice.choice(("rule", "command")),
            min_pairs=2, margin_pct_e2=self._dice.choice((200, 10_000)), false_promotion_pct_e2=5_000,
            coverage_pct_e2=10_000, misses=self._dice.choice((1, 2, 3)),
        )  # fmt: skip

    def admission(self, name, symbol, first):
        """A rival comes with the scores of the first, in shadow, and mostly wants to trade."""
        scores = first.scores[: len(self._spans[name])]
        return ModelAdmitted(
            model_id=name, kind="forecaster", symbol=symbol, active=False, horizons=self._spans[name], scores=scores,
            candidate=self._dice.random() < 0.8, ts_init_ns=0,
        )  # fmt: skip

    def wish(self, symbol):
        """What an operator wants of the models; now and then the impossible."""
        words = {"symbol": symbol, "operator": "mo", "reason": "drill", "ts_init_ns": 0}
        if self._dice.random() < 0.7:
            named = self._dice.choice((*self.names, *self.names, *self.names, FIRST, STRANGER))
            return PromoteModel(model_id=named, **words)
        return RollBackModel(model_id=self._dice.choice(("", "", FIRST, STRANGER)), **words)

    def opinions(self, request, first, r):
        """The first model's answer and those of its rivals, of which some do not come; a pure function of `r`.

        A rival speaks before it is admitted as well: nobody has asked it, and nobody may listen.
        """
        answers = []
        for name in (FIRST, *self.names):
            draw = r.random()
            if draw < self._owes[name] / 2:
                continue
            if draw < self._owes[name]:
                answers.append(
                    ForecastMissed(request_id=request.request_id, symbol=request.symbol, model_id=name, reason="error",
                                   detail="", ts_init_ns=request.as_of_ns)
                )  # fmt: skip
            else:
                answers.append(first if name == FIRST else self._rival(name, request, first))
        r.shuffle(answers)
        return answers

    def _rival(self, name, request, first):
        close = request.close_e5[-1]
        sign = -1 if self._hostile[name] else 1
        horizons = tuple(
            HorizonForecast(
                horizon=view.horizon,
                point_e5=max(1, close + sign * (view.point_e5 - close) // 2),
                sigma_e5=max(1, math.ceil(view.sigma_e5 * 0.8)),
            )
            for view in first.horizons
            if view.horizon in self._spans[name]
        )
        return msgspec.structs.replace(first, model_id=name, horizons=horizons)


def hasten(patch):
    """Let a comparison end after a few bars: a disaster lasts for minutes, and its clocks tick in bars."""
    patch.setattr(risk.promotion, "FEWEST_BATCHES", 2)


def is_swap(message):
    """Whether somebody outside said it of the models while a day went."""
    return isinstance(message, PromoteModel | RollBackModel) or (
        isinstance(message, ModelAdmitted) and not message.active
    )
