"""Which code a model was made by: a hash of this package's sources, and the version-control revision where known."""

import contextlib
import hashlib
from functools import lru_cache
from pathlib import Path

import msgspec

_PACKAGE = Path(__file__).parent


class CodeRevision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The code that trained.

    Attributes:
        models_sha256: over the names and contents of the sources of `models`.
        vcs: id of the commit that was checked out; empty where that is not known. Uncommitted changes do not show in
            it; in `models_sha256` those of `models` do.
    """

    models_sha256: str
    vcs: str


@lru_cache(maxsize=1)
def revision() -> CodeRevision:
    """Of the code that runs."""
    return CodeRevision(models_sha256=sources_sha256(_PACKAGE), vcs=_commit(_PACKAGE.parent))


def sources_sha256(package: Path) -> str:
    """Hash of every Python file below a folder, by its path within it; the folder's own place does not count."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py"), key=lambda each: each.relative_to(package).as_posix()):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()}\0{len(data)}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def _commit(root: Path) -> str:
    """The commit that a Git checkout is at, read from its files; empty where it is none, or one of another form."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        folder = root / ".git"
        if folder.is_file():  # a linked worktree
            folder = root / folder.read_text().removeprefix("gitdir:").strip()
        head = (folder / "HEAD").read_text().strip()
        if not head.startswith("ref:"):
            return head
        name = head.removeprefix("ref:").strip()
        shared = folder / "commondir"
        common = folder / shared.read_text().strip() if shared.is_file() else folder
        loose = common / name
        if loose.is_file():
            return loose.read_text().strip()
        for line in (common / "packed-refs").read_text().splitlines():
            if line.endswith(f" {name}"):
                return line.split(" ")[0]
    return ""
