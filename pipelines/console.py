"""Shows a run on the command line: a line a stage, and a bar while one is under way."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from pipelines.lib import journal
from pipelines.lib.journal import Stage


class StageLines:
    """Listens to the journal of this process while it is entered."""

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self._console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            # Bars are for people; a log file gets the lines only.
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> StageLines:
        """Begin to listen."""
        journal.listeners.append(self._hear)
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening."""
        self._progress.stop()
        journal.listeners.remove(self._hear)

    def line(self, stage: Stage) -> None:
        """Print a finished stage."""
        self.stages.append(stage)
        self._console.print(f"{stage.name:<26}{stage.seconds:7.1f} s   {stage.note}")

    def _hear(self, event: Stage | journal.Progress) -> None:
        if isinstance(event, journal.Progress):
            if self._task is not None:
                self._progress.update(
                    self._task,
                    total=event.total,
                    completed=event.done,
                    description=f"{event.stage}: {event.part}",
                )
            return
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
        if event.seconds:
            self.line(event)
        else:
            self._task = self._progress.add_task(event.name, total=None)
