"""The house: its rooms, which way imports point, and what the daemon may not load."""

import subprocess
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
ROOMS = {"bus", "adapters", "strategies", "risk", "models", "daemon"}
OTHER_FOLDERS = {"systemd", "tests", "bench", "docs"}


def tracked_folders():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    return {path.split("/")[0] for path in listed if "/" in path and not path.startswith(".")}


def test_the_top_level_is_the_agreed_one():
    assert tracked_folders() <= ROOMS | OTHER_FOLDERS


def test_every_room_stands_in_the_import_contracts():
    config = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = next(contract for contract in config["contracts"] if contract["type"] == "layers")["layers"]
    named = {name.strip() for layer in layers for name in layer.split("|")}

    assert set(config["root_packages"]) == ROOMS
    assert named == ROOMS


def test_the_daemon_starts_without_learning_or_plotting_libraries():
    heavy = ["torch", "onnxruntime", "sklearn", "scipy", "matplotlib", "pyarrow", "sqlalchemy", "pandas", "optuna"]
    script = f"import daemon.cli, daemon.app, sys; print([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


def test_the_core_imports_neither_numpy_nor_any_io():
    script = (
        "import daemon.core, sys; "
        "print([n for n in ('numpy', 'asyncio', 'socket', 'aiohttp', 'nats', 'sqlite3') if n in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


def test_the_command_tells_the_version_of_the_distribution():
    from daemon.cli import VERSION

    assert tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"] == VERSION


def test_no_registry_host_and_no_machine_path_is_committed():
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    for name in listed.stdout.splitlines():
        if name.endswith((".png", ".svg")):
            continue
        text = (REPOSITORY / name).read_text(errors="replace")
        for forbidden in ("files.pythonhosted" + ".org", "pypi" + ".org/simple", "--index" + "-url", "/ho" + "me/"):
            assert forbidden not in text or name == "Makefile", f"{name} names {forbidden}"
