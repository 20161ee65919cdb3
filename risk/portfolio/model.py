"""One account's symbols as they move together: fed with closed bars, asked what a book would lose.

Theory of operation. `note` takes a closed bar, `settle` does all that is heavy, once a finished row: the row goes into
the sums of products and the ring of scenarios and the oldest out; covariance, its factor and the table of scenarios
follow from them. A symbol is measured once `min_bars` of its bars are in the window, and in more than half of the rows
since its first. Rows from before the last of the measured symbols began are not looked at: a symbol that was not there
yet did not stand still. When the set of measured symbols changes, sums and ring are made anew.

A symbol that is not measured counts for as much as the wildest of the measured ones, and always against the book: it
cannot hide in a book, and it cannot hedge one. Where nothing is measured there is no answer.
"""

import math
from collections.abc import Mapping, Sequence

import msgspec

from bus.values import Instrument
from risk.policies.portfolio import PortfolioLimits
from risk.portfolio.covariance import Matrix, Products, cholesky, principal
from risk.portfolio.history import RETURN_SCALE, SCORE_SCALE, History
from risk.portfolio.scenarios import Answers, Recent, Table, drawn, tail, worst_moves

PPM = 1_000_000
FACTORS = 3
"""Components that are told of and limited; the rest together is what diversifies."""
_PCT = 10_000  # ppm
_ROOT_SCALE = 1_000_000


class Measure(msgspec.Struct, frozen=True, gc=False):
    """What a book may lose over the horizon, in the account's smallest unit, rounded up.

    `together` is the largest value, of either sign, of what moves together, among the groups that the symbol asked
    about is part of; `factors` what one standard deviation of each of `Portfolio.factors` would cost at worst, where
    a limit asks for them.
    """

    value_at_risk: int
    shortfall: int
    together: int = 0
    factors: tuple[int, ...] = ()


class Factor(msgspec.Struct, frozen=True, gc=False):
    """A principal component: what it is called, its share of all variance, and each symbol's loading.

    `name` is the currency that it loads on most. `loadings` are the moves of the symbols, in 1e-9, that a move of one
    standard deviation of the component in a bar is.
    """

    name: str
    share_ppm: int
    loadings: tuple[int, ...]


class Portfolio:
    """What is known of how the symbols of a run move together.

    Attributes:
        measured: symbols that are measured, in the order of the tables.
        correlations: by symbol, those it is correlated with beyond the bound, itself included, in ppm.
        shrinkage_ppm: how far the covariance was shrunk towards one common variance.
    """

    def __init__(self, instruments: Sequence[Instrument], limits: PortfolioLimits) -> None:
        self.limits = limits
        self.history = History([each.symbol for each in instruments], limits.window_bars)
        self.measured: tuple[str, ...] = ()
        self.correlations: dict[str, tuple[tuple[str, int], ...]] = {}
        self._groups: dict[str, list[int]] = {}  # by symbol, the groups that it is part of, as rows beside the table
        self._further: list[int] = []
        self.shrinkage_ppm = 0
        self._legs = {each.symbol: (each.base, each.quote) for each in instruments}
        self._root = math.isqrt(limits.horizon_bars * _ROOT_SCALE**2)  # of the horizon, in 1e-6
        self._answers: Answers | None = None
        self._wildest = (0, 0)
        self._columns: list[int] = []
        self._place: dict[str, int] = {}
        self._products = Products(0)
        self._recent = Recent((), limits.window_bars)
        self._taken = self._generation = 0
        self._covariance: Matrix = []
        self._factors: tuple[Factor, ...] | None = None

    # --- learning ----------------------------------------------------------------------------------------------

    def note(self, symbol: str, ts_open_ns: int, close_e5: int) -> None:
        """Take a closed bar; nothing is worked out before `settle`."""
        self.history.note(symbol, ts_open_ns, close_e5)

    def settle(self) -> None:
        """Work out what follows from the bars told since; cheap where no row was finished."""
        history = self.history
        if not history.settle():
            return
        known = [
            symbol
            for symbol in history.symbols
            if (bars := history.bars(symbol)) >= self.limits.min_bars
            and 2 * bars > history.count - history.since(symbol)
        ]
        if tuple(known) != self.measured or history.generation != self._generation:
            self._begin(tuple(known), max((history.since(symbol) for symbol in known), default=0))
        self._take()
        self._work_out()

    def _begin(self, known: tuple[str, ...], start: int) -> None:
        history = self.history
        self.measured = known
        self._generation = history.generation
        self._columns = [history.symbols.index(symbol) for symbol in known]
        self._place = {symbol: i for i, symbol in enumerate(known)}
        self._products = Products(len(known))
        self._recent = Recent(self._columns, self.limits.window_bars)
        self._taken = start

    def _take(self) -> None:
        """Rows that are not in the sums yet go in, and those beyond the window out."""
        history = self.history
        first = history.count - len(history.rows)
        for number in range(max(self._taken, first), history.count):
            row = history.rows[number - first]
            left = self._recent.push(row)
            self._products.add([row.scores[i] for i in self._columns])
            if left is not None:
                self._products.add(left, -1)
        self._taken = history.count

    def _work_out(self) -> None:
        self._factors = None
        self._answers = None
        self.correlations = {}
        limits = self.limits
        if not self.measured:
            return
        self._covariance, share = self._products.shrunk()
        self.shrinkage_ppm = round(share * PPM)
        self._correlate()
        table = self._scenarios([self.history.volatility(symbol) for symbol in self.measured])
        if not tail(len(table), limits.level_pct_e2):
            return
        self._wildest = worst_moves(table, limits.level_pct_e2)
        size = len(self.measured)
        beside = [[dict(near).get(symbol, 0) for symbol in self.measured] for near in self.correlations.values()]
        if limits.factor_pct_e2:
            self._factors = self._components()  # now, and not in the middle of a decision
            beside += [list(factor.loadings) for factor in self._factors]
        self._further = list(range(size, len(beside)))
        self._answers = Answers(table, limits.level_pct_e2, beside)

    def _scenarios(self, volatilities: list[int]) -> Table:
        if self.limits.method == "historical":
            return self._recent.historical()
        if self.limits.method == "filtered":
            return self._recent.filtered(volatilities)
        return drawn(cholesky(self._covariance), volatilities, student=self.limits.method == "student")

    def correlation_ppm(self, one: str, other: str) -> int:
        """Of two measured symbols, shrunk, in ppm."""
        i, j = self._place[one], self._place[other]
        matrix = self._covariance
        scale = math.sqrt(matrix[i][i] * matrix[j][j])
        return max(-PPM, min(PPM, round(matrix[i][j] / scale * PPM))) if scale > 0 else PPM * (i == j)

    def _correlate(self) -> None:
        least = self.limits.correlated_above_pct * _PCT
        for one in self.measured:
            near = [(other, PPM if other == one else self.correlation_ppm(one, other)) for other in self.measured]
            self.correlations[one] = tuple(each for each in near if abs(each[1]) >= least)
        self._groups = {
            symbol: [self._place[other] for other, _ in self.correlations[symbol]] for symbol in self.measured
        }

    # --- asking ------------------------------------------------------------------------------------------------

    @property
    def bars(self) -> int:
        """Rows that every measured symbol knows."""
        return self._recent.n

    @property
    def ready(self) -> bool:
        """Whether anything is measured."""
        return self._answers is not None

    def measure(self, books: Sequence[Mapping[str, int]], symbol: str = "") -> list[Measure] | None:
        """What several books may lose over the horizon.

        Args:
            books: signed values by symbol in the account's smallest unit; a symbol may be any.
            symbol: whose groups `Measure.together` is about; empty = it is not asked for.

        Returns:
            One answer a book; None where nothing is measured.
        """
        if self._answers is None:
            return None
        place = self._place
        size = len(place)
        known: list[list[int]] = []
        others: list[int] = []
        for book in books:
            values, beside = [0] * size, 0
            for each, value in book.items():
                i = place.get(each)
                if i is None:
                    beside += abs(value)
                else:
                    values[i] = value
            known.append(values)
            others.append(beside)
        root = self._root
        unit = RETURN_SCALE * _ROOT_SCALE
        groups = self._groups.get(symbol, [])
        n = len(groups)
        found: list[Measure] = []
        for beside, (at_risk, shortfall, further) in zip(
            others, self._answers.ask(known, groups + self._further), strict=True
        ):
            if beside:
                at_risk += beside * self._wildest[0]  # noqa: PLW2901  # what is not measured comes on top
                shortfall += beside * self._wildest[1]  # noqa: PLW2901
            found.append(
                Measure(
                    value_at_risk=-(-at_risk * root // unit),
                    shortfall=-(-shortfall * root // unit),
                    together=-(-max(map(abs, further[:n]), default=0) // PPM),
                    factors=tuple([-(-abs(x) * root // unit) for x in further[n:]]),
                )
            )
        return found

    @property
    def factors(self) -> tuple[Factor, ...]:
        """The first components, largest first; worked out once a row, when somebody first asks."""
        if self._factors is None:
            self._factors = self._components()
        return self._factors

    @property
    def names(self) -> tuple[str, ...]:
        """Of the components that `Measure.factors` is of."""
        return tuple([factor.name for factor in self._factors]) if self._factors is not None else ()

    def _components(self) -> tuple[Factor, ...]:
        sigma = [self.history.volatility(symbol) / SCORE_SCALE for symbol in self.measured]
        p = range(len(self.measured))
        scaled = [[self._covariance[i][j] * sigma[i] * sigma[j] for j in p] for i in p]
        found = principal(scaled)
        whole = sum(value for value, _ in found)
        return tuple(
            Factor(
                name=self._name(vector),
                share_ppm=round(value / whole * PPM) if whole > 0 else 0,
                loadings=tuple(round(math.sqrt(value) * x * SCORE_SCALE) for x in vector),
            )
            for value, vector in found[:FACTORS]
        )

    def _name(self, vector: Sequence[float]) -> str:
        """The currency whose legs the component moves most; the first by name among equals."""
        moved: dict[str, float] = {}
        for symbol, x in zip(self.measured, vector, strict=True):
            base, quote = self._legs[symbol]
            moved[base] = moved.get(base, 0.0) + x
            moved[quote] = moved.get(quote, 0.0) - x
        return max(sorted(moved), key=lambda each: abs(round(moved[each], 9)))

    def factor_losses(self, book: Mapping[str, int]) -> list[int]:
        """`Measure.factors` of a book, also where no limit asks for them."""
        unit = RETURN_SCALE * _ROOT_SCALE
        values = [book.get(symbol, 0) for symbol in self.measured]
        return [
            -(-abs(sum(v * x for v, x in zip(values, factor.loadings, strict=True))) * self._root // unit)
            for factor in self.factors
        ]
