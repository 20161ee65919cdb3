"""How many mutants were noticed, by module, and each that was not: `make mutants` prints this after a run.

A survivor whose reason stands in `survivors.toml` is counted as explained, any other is printed with its change.
"""

import argparse
import json
import tomllib
from collections import Counter
from pathlib import Path

from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code

_REASONS = Path(__file__).with_name("survivors.toml")
_NOTICED = ("killed", "timeout", "segfault", "suspicious")


def changed(mutant: str, path: str) -> str:
    """What a mutant changes, on one line: ``a <= b -> a < b``."""
    lines = get_diff_for_mutant(mutant, path=path).split("\n")[3:]
    taken = " ".join(line[1:].strip() for line in lines if line.startswith("-"))
    given = " ".join(line[1:].strip() for line in lines if line.startswith("+"))
    return f"{taken} -> {given}"


def name_of(mutant: str) -> str:
    """A mutant's function: ``risk.book.Book.fill`` of ``risk.book.xǁBookǁfill__mutmut_3``."""
    module, _, function = mutant.rpartition("__mutmut_")[0].rpartition(".")
    return f"{module}.{'.'.join(part for part in function.removeprefix('x_').removeprefix('xǁ').split('ǁ') if part)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", action="store_true", help="print survivors with a reason as well")
    asked = parser.parse_args()
    reasons: dict[str, dict[str, str]] = tomllib.loads(_REASONS.read_text()) if _REASONS.exists() else {}
    total: Counter[str] = Counter()
    survivors: list[tuple[str, str, str]] = []
    print(f"{'module':34} {'mutants':>8} {'by types':>8} {'by tests':>8} {'left':>6} {'explained':>9} {'tests':>8}")
    for meta in sorted(Path("mutants/risk").rglob("*.meta")):
        path = str(meta.relative_to("mutants").with_suffix(""))
        found: Counter[str] = Counter()
        for mutant, code in json.loads(meta.read_text())["exit_code_by_key"].items():
            status = status_by_exit_code[code]
            if status in ("survived", "no tests"):
                function, change = name_of(mutant), changed(mutant, path)
                reason = reasons.get(function, {}).get(change, "")
                found["explained"] += bool(reason)
                survivors.append((function, change, reason))
                status = "left"
            found["noticed" if status in _NOTICED else status] += 1
        total += found
        _row(path, found)
    _row("all", total)
    for function, change, reason in survivors:
        if asked.all or not reason:
            print(f"\n{function}\n    {change}" + (f"\n    {reason}" if reason else ""))


def _row(path: str, found: Counter[str]) -> None:
    by_types, noticed, left = found["caught by type check"], found["noticed"], found["left"]
    mutants = sum(found.values()) - found["explained"]
    if not mutants:
        return
    share = f"{100 * noticed / (noticed + left):.1f} %" if noticed + left else "-"
    unchecked = f"  {found['not checked']} not run" if found["not checked"] else ""
    print(f"{path:34} {mutants:8} {by_types:8} {noticed:8} {left:6} {found['explained']:9} {share:>8}{unchecked}")


if __name__ == "__main__":
    main()
