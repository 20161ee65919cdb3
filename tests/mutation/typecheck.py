"""Which mutants the type checker refuses: pyright's JSON, less what is not a mutant's own fault. mutmut calls this.

All mutants of a class stand in one file beside the original, so one that is made to say ``self.quotes = None`` would
spoil the type of `quotes` for every other: such lines are taken out of the copy that is checked, and these mutants left
to the tests. An error counts only in a mutant whose original has no error of the same words. Standard checks are asked,
fewer than `make lint` asks.
"""

import hashlib
import json
import re
import subprocess
import sys
from bisect import bisect_right
from collections import defaultdict
from pathlib import Path
from typing import Any

_DEFINED = re.compile(r"\s*(?:async )?def (\S+?)\(")
_FORGETS = re.compile(r"^(\s*)self\.\w+ = None$", re.MULTILINE)
_MUTANT = re.compile(r"(.*__mutmut)_(orig|\d+)$")
_COPY = Path("typecheck")
_SETTINGS = {
    "include": [f"{_COPY}/risk"], "executionEnvironments": [{"root": str(_COPY), "extraPaths": ["."]}],
    "pythonVersion": "3.11", "typeCheckingMode": "standard", "venvPath": "..", "venv": ".venv",
    "reportMissingTypeStubs": False,
}  # fmt: skip


def own_errors(found: list[dict[str, Any]], source: str) -> list[dict[str, Any]]:
    """Of one file's errors those that a mutant has and its original has not."""
    defined = [(n, match[1]) for n, line in enumerate(source.split("\n")) if (match := _DEFINED.match(line))]
    begins = [n for n, _ in defined]
    placed: list[tuple[str, str, dict[str, Any]]] = []
    of_originals: dict[str, set[str]] = defaultdict(set)
    for error in found:
        at = bisect_right(begins, error["range"]["start"]["line"]) - 1
        function = _MUTANT.match(defined[at][1]) if at >= 0 else None
        if function is None:
            continue
        if function[2] == "orig":
            of_originals[function[1]].add(error["message"])
        else:
            placed.append((function[1], error["message"], error))
    return [error for function, message, error in placed if message not in of_originals[function]]


def _checked(found: list[dict[str, Any]], sources: dict[Path, str]) -> list[dict[str, Any]]:
    by_file: dict[Path, list[dict[str, Any]]] = defaultdict(list)
    for error in found:
        path = Path(error["file"]).relative_to(_COPY.resolve())
        by_file[path].append({**error, "file": str(path.resolve())})
    return [error for path, errors in by_file.items() for error in own_errors(errors, sources[path])]


def main() -> None:
    sources = {path: path.read_text() for path in sorted(Path("risk").rglob("*.py"))}
    words = json.dumps([sorted((str(path), text) for path, text in sources.items()), _SETTINGS])
    key = hashlib.sha256(words.encode()).hexdigest()
    kept = Path("typecheck.json")
    if not (kept.exists() and json.loads(kept.read_text())["key"] == key):
        for path, text in sources.items():
            (_COPY / path).parent.mkdir(parents=True, exist_ok=True)
            (_COPY / path).write_text(_FORGETS.sub(r"\1pass", text))
        settings = Path("typecheck-settings.json")
        settings.write_text(json.dumps(_SETTINGS))
        command = [str(Path(sys.executable).with_name("pyright")), "-p", str(settings), "--outputjson"]
        answer = json.loads(subprocess.run(command, check=False, capture_output=True, text=True).stdout)
        kept.write_text(json.dumps({"key": key, "generalDiagnostics": _checked(answer["generalDiagnostics"], sources)}))
    sys.stdout.write(kept.read_text())


if __name__ == "__main__":
    main()
