"""Named chart patterns, one file a family. `catalogue()` finds them; each file holds `PATTERNS` (`models.contract`).

Adding a pattern is one new file here (or one more entry in the `PATTERNS` of its family), a plant for it in
`tests/harness/plants.py` that says what it looks like, and `python docs/patterns.py` for the measured table. The
contract suite (`tests/contracts/test_pattern_contract.py`) finds it and holds it to the contract.

Files that start with an underscore are shared by several families.
"""

import importlib
import pkgutil
from functools import lru_cache

from models.contract import Pattern


@lru_cache(maxsize=1)
def catalogue() -> tuple[Pattern, ...]:
    """Every pattern of this folder, in the order of file names and of `PATTERNS` within a file."""
    found: list[Pattern] = []
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        if not module.startswith("_"):
            patterns: tuple[Pattern, ...] = importlib.import_module(f"{__name__}.{module}").PATTERNS
            found += patterns
    return tuple(found)
