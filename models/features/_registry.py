"""The table of features: who is in it, what each depends on, and a hash that says which code computes it.

Theory of operation. Every module of this package without a leading underscore is a group: its docstring says what the
group looks at, and its functions are features by the decorator `feature`. `discover` imports the groups in the order
of names. A feature's hash covers its name and parameters, the code of its group and the code that all groups stand
on. Code counts without comments and docstrings, so that better words cost nobody a training; a number does.

The hash says nothing of numpy's version or of the time-zone data: both may move a last bit or a future holiday.
"""

import ast
import hashlib
import importlib
import importlib.util
import json
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.abc import InspectLoader
from typing import Literal

from models.columns import Floats
from models.features._market import Market

Need = Literal["bars", "quotes", "ticks", "cross"]
"""What must be there: bars alone, bars with counts of quotes, ticks by bar, or the bars of other pairs."""

Args = tuple[int, ...]

LONGEST = 256
"""Bars that a request for forecasts carries: no feature may need more."""

_GROUND = ("models.features._windows", "models.features._market", "models.features._inputs", "bus.calendar")


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One number about a market at the close of a bar.

    Attributes:
        name: unique, lower case.
        group: the module it stands in.
        formula: what it is, from the function's docstring.
        needs: without which it is absent.
        startup: bars that one row depends on; the rows before have NaN.
        args: parameters in the order of the function's arguments.
        values: computes it, shape (n,), from a market of n bars.
    """

    name: str
    group: str
    formula: str
    needs: Need
    startup: int
    args: Args
    values: Callable[[Market], Floats]

    @property
    def hash(self) -> str:
        """Identity of what the number means: sha256 over name, parameters, start-up length and code."""
        meaning = [self.name, self.needs, self.startup, self.args, code_hash(f"{_PACKAGE}.{self.group}"),
                   *(code_hash(module) for module in _GROUND)]  # fmt: skip
        return hashlib.sha256(json.dumps(meaning).encode()).hexdigest()


_PACKAGE = __name__.rpartition(".")[0]
_found: dict[str, Feature] = {}


def feature(
    name: str,
    *,
    startup: int | Callable[[int], int],
    needs: Need = "bars",
    each: Sequence[int | tuple[int, ...]] = ((),),
) -> Callable[[Callable[..., Floats]], Callable[..., Floats]]:
    """Register a function `(market, *parameters) -> values` as one feature, or as a family of them.

    Args:
        name: with one `{}` a parameter.
        startup: bars that one row depends on, at most LONGEST; or a function of the largest parameter that says so.
        needs: what must be there.
        each: the parameters of every member of the family.

    Raises:
        ValueError: a name that is taken, a start-up length out of range, or no docstring.
    """

    def register(function: Callable[..., Floats]) -> Callable[..., Floats]:
        for member in each:
            args = member if isinstance(member, tuple) else (member,)
            full, length = name.format(*args), startup if isinstance(startup, int) else startup(max(args))
            if full in _found or not 1 <= length <= LONGEST or not (function.__doc__ or "").strip():
                raise ValueError(f"feature {full}: name taken, {length} bars not within 1..{LONGEST}, or no docstring")
            _found[full] = Feature(
                name=full,
                group=function.__module__.rpartition(".")[2],
                formula=" ".join((function.__doc__ or "").split()),
                needs=needs,
                startup=length,
                args=args,
                values=_bound(function, args),
            )
        return function

    return register


@lru_cache(maxsize=1)
def discover() -> dict[str, Feature]:
    """Every feature by name, group by group."""
    package = importlib.import_module(_PACKAGE)
    for module in sorted(info.name for info in pkgutil.iter_modules(package.__path__)):
        if not module.startswith("_"):
            importlib.import_module(f"{_PACKAGE}.{module}")
    return _found


@lru_cache(maxsize=256)
def code_hash(module: str) -> str:
    """Sha256 of a module's code without comments and docstrings.

    Raises:
        ImportError: its source is not there to be read.
    """
    found = importlib.util.find_spec(module)
    loader = found.loader if found else None
    source = loader.get_source(module) if isinstance(loader, InspectLoader) else None
    if source is None:
        raise ImportError(f"no source of {module}: features are known by their code; install from source or a wheel")
    return hash_of(source)


def hash_of(source: str) -> str:
    """Sha256 of Python code without comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            # a string that stands by itself computes nothing
            kept = [line for line in node.body if not _is_text(line)]
            node.body = kept or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()


def _is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)


def _bound(function: Callable[..., Floats], args: Args) -> Callable[[Market], Floats]:
    return lambda market: function(market, *args)
