"""How settings are searched for: every setting of a search. Loads no learning library.

They are the section `[search]` of the configuration. What may be searched is declared beside each network
(`models.space`), what a trial is judged by in `models.train.judging`.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bus.errors import ConfigError

Sampler = Literal["tpe", "random", "grid", "qmc", "nsga2"]
Pruner = Literal["auto", "median", "hyperband", "successive_halving", "none"]
Objective = Literal["crps", "crps_and_time"]

SAMPLERS: dict[Sampler, str] = {
    "tpe": "tree-structured Parzen estimators (Bergstra et al. 2011), after ten random trials",
    "random": "each value for itself, evenly",
    "grid": "every combination of grid_points values a parameter",
    "qmc": "a scrambled Sobol sequence: as even as so few points can lie",
    "nsga2": "a genetic algorithm for several objectives (Deb et al. 2002)",
}
"""Those of Optuna that need nothing else installed, and what each does."""

PRUNERS: dict[Pruner, str] = {
    "auto": "median where there is one objective and the network learns in epochs, else none",
    "median": "ends a trial that is worse than half of those before it at the same epoch",
    "hyperband": "successive halving at several rates (Li et al. 2018)",
    "successive_halving": "lets a third go on at epochs 1, 3, 9 ... (Li et al. 2020)",
    "none": "every trial runs to its end",
}

IN_EPOCHS = frozenset({"mlp", "tcn", "gru", "temporal_unet"})
"""Networks that report a loss after each epoch, and can be pruned by it."""

Part = Annotated[int, Meta(ge=5, le=40)]


class Search(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How settings are searched for.

    Attributes:
        trials: finished ones that a study is to have, over all processes and machines that share it.
        timeout_s: seconds after which a process begins no further trial; 0 = never.
        sampler: which values are tried next; `SAMPLERS` says how.
        pruner: which trials are not worth their end; `PRUNERS` says how.
        study: its name; empty = one made of the network, the symbols and everything that makes two studies different.
        storage: URL of the database that keeps the trials, SQLite or PostgreSQL; empty = the store's own.
        parameters: only these are searched, and the others are as configured; empty = all.
        objective: crps = the network's CRPS as a share of the random walk's; crps_and_time = that, and microseconds a
            forecast.
        grid_points: values a numeric parameter, for the sampler `grid`.
        judge_pct: of the bars that models learn from, the part on which trials are judged.
        later_pct: the part after it, on which nothing but the outcome of the search is judged.
    """

    trials: Annotated[int, Meta(ge=1, le=100_000)] = 40
    timeout_s: Annotated[float, Meta(ge=0.0, le=31_536_000.0)] = 0.0
    sampler: Sampler = "tpe"
    pruner: Pruner = "auto"
    study: Annotated[str, Meta(pattern="^$|^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] = ""
    storage: str = ""
    parameters: tuple[str, ...] = ()
    objective: Objective = "crps"
    grid_points: Annotated[int, Meta(ge=1, le=100)] = 3
    judge_pct: Part = 20
    later_pct: Part = 20

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.objective != "crps" and self.pruner not in {"auto", "none"}:
            raise ConfigError(
                f"pruner = {self.pruner!r} with objective = {self.objective!r}: trials of several objectives cannot be "
                "pruned; write pruner = 'none'"
            )

    def pruning(self, model: str) -> Pruner:
        """The pruner that runs for a network."""
        if self.pruner != "auto":
            return self.pruner
        return "median" if self.objective == "crps" and model in IN_EPOCHS else "none"
