"""How long work shows how far it is."""

import contextlib
from collections.abc import Callable, Generator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


@contextlib.contextmanager
def progress_bar(doing: str, console: Console, *, hidden: bool = False) -> Generator[Callable[[str, float], None]]:
    """A bar that is told a stage and the share that is done, 0 to 1.

    Args:
        doing: what goes on, in a word.
        console: where it is drawn.
        hidden: draw nothing.
    """
    columns = (TextColumn(f"[bold]{doing}[/]"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"),
               TimeRemainingColumn(), TextColumn("{task.description}"))  # fmt: skip
    with Progress(*columns, console=console, disable=hidden) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda stage, share: bar.update(task, completed=share, description=stage)
