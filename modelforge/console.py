"""The one place that prints, and that knows how things look: stdout is data, stderr is talk."""

from __future__ import annotations

import json as json_format
import time
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from modelforge.display import visible
from modelforge.errors import UsageProblem
from modelforge.events import Progress
from modelforge.report import error_document
from modelforge.units import seconds_text
from modelforge.views.problems import error_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rich.progress import Progress as RichProgress

    from modelforge.errors import ForgeError
    from modelforge.events import Event, Step

_STAGE_COLUMNS = 10
_INDENT = " " * (2 + _STAGE_COLUMNS)
_PLAIN = str.maketrans("✓✗▸━│–−×…·", "+x>#|--x~.")
_COLORS = {"✓": "32", "✗": "31", "▸": "36", "warning:": "33"}

# Off a terminal: a line for each tenth, but none sooner than after 5 s, and one after a minute in any case.
_TENTH, _SOONEST, _LATEST = 0.1, 5.0, 60.0
_REFRESH = 0.1
_WORTH_A_BAR = 0.3
"""Seconds; what is done sooner gets no bar."""


class Console:
    """Shows data, talk, progress and errors on two streams. The caller has looked at the environment."""

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        *,
        json: bool = False,
        quiet: int = 0,
        verbose: int = 0,
        color: bool = False,
        terminal: bool = False,
        ci: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.json = json
        self.quiet = quiet
        self.verbose = verbose
        self._out = _Stream(out, color=color)
        self._err = _Stream(err, color=color)
        self._documented = False
        self._told: str | None = None
        self._meter: _Meter = _Bar(err, color, clock) if terminal and not ci else _Lines(self._err, clock)

    def show(self, lines: Iterable[str]) -> None:
        """Data for people, to stdout; with `--json` nothing, as the document stands for it."""
        if not self.json:
            self._settle()
            self._out.lines(lines, exact=not self._out.is_terminal())

    def stream(self, text: str) -> None:
        """An exact text or a piece of one, to stdout at once. On a terminal nothing of it can move the cursor."""
        if self.json:
            return
        self._settle()
        if self._out.is_terminal():
            self._out.write(visible(text, keep="\n\t"))
        else:
            self._out.write_exactly(text)

    def talk(self, lines: Iterable[str]) -> None:
        """What is going on, to stderr; nothing with `-q`."""
        if not self.quiet:
            self._settle()
            self._err.lines(lines)

    def document(self, document: Mapping[str, Any]) -> None:
        """The one JSON document of a command, to stdout, its keys in the order given."""
        self._settle()
        self._documented = True
        self._out.document(document)

    def error(self, error: ForgeError) -> None:
        """An error, to stderr; with `--json` as a document too, where there is none yet."""
        self._settle()
        if self.json and not self._documented:
            self.document(error_document(error))
        self._err.lines(error_lines(error))

    def emit(self, event: Event) -> None:
        """What a stage tells. A step is a line, progress a bar on a terminal and a few lines elsewhere.

        `-q` leaves only what is bad, `-qq` nothing.
        """
        if isinstance(event, Progress):
            if not self.quiet and self._meter.update(event, self._label(event.stage)):
                self._told = event.stage
        elif not self.quiet or (self.quiet == 1 and event.kind in {"bad", "warning"}):
            self._meter.end()
            self._step(event)

    def close(self) -> None:
        """Ends a progress bar that is still there."""
        self._meter.end()

    def _settle(self) -> None:
        """Before a line that is no step: the bar ends, and the next step names its stage again."""
        self._meter.end()
        self._told = None

    def _step(self, step: Step) -> None:
        first, *rest = step.text.split("\n")
        warning = "warning: " if step.kind == "warning" else ""
        self._err.lines([self._label(step.stage) + warning + first, *(_INDENT + line for line in rest)])
        self._told = step.stage

    def _label(self, stage: str) -> str:
        return _INDENT if stage == self._told else f"  {stage:<{_STAGE_COLUMNS}}"


class _Stream:
    """A text stream that survives a reader who has gone, and an encoding that lacks our signs."""

    def __init__(self, file: TextIO, *, color: bool) -> None:
        self._file = file
        self._color = color
        self._gone = False

    def is_terminal(self) -> bool:
        return self._file.isatty()

    def lines(self, lines: Iterable[str], *, exact: bool = False) -> None:
        whole = [line if exact else self._painted(visible(line, keep="\t")) for line in lines]
        if whole:
            self.write("\n".join(whole) + "\n")

    def write(self, text: str) -> None:
        """The text, with other signs where the encoding lacks ours. Quiet when nobody reads any more."""
        fitting = self._fitting(text)
        self._try(lambda: self._file.write(fitting))

    def write_exactly(self, text: str) -> None:
        """The text as UTF-8, whatever the encoding is, where the stream has bytes below it."""
        buffer = getattr(self._file, "buffer", None)
        if buffer is None:
            self.write(text)
        else:
            self._file.flush()
            self._try(lambda: buffer.write(text.encode("utf-8", "backslashreplace")))

    def document(self, document: Mapping[str, Any]) -> None:
        text = json_format.dumps(document, indent=2, ensure_ascii=False)
        if not self._encodes(text):  # a lone surrogate, or an encoding without these characters
            text = json_format.dumps(document, indent=2, ensure_ascii=True)
        self._try(lambda: self._file.write(text + "\n"))

    def _try(self, write: Callable[[], object]) -> None:
        if self._gone:
            return
        try:
            write()
            self._file.flush()
        except BrokenPipeError:  # as `| head` does it; the work goes on, its exit code tells the rest
            self._gone = True
        except OSError as error:  # a full disk behind `> file`
            self._gone = True
            raise UsageProblem(f"the output cannot be written: {error.strerror}") from error

    def _painted(self, line: str) -> str:
        if self._color:
            for mark, code in _COLORS.items():
                line = line.replace(mark, f"\x1b[{code}m{mark}\x1b[0m", 1)
        return line

    def _encodes(self, text: str) -> bool:
        try:
            text.encode(self._file.encoding or "utf-8")
        except UnicodeEncodeError:
            return False
        return True

    def _fitting(self, text: str) -> str:
        if self._encodes(text):
            return text
        encoding = self._file.encoding or "utf-8"
        return text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)


class _Meter(Protocol):
    """How progress is shown. `label` is the stage's column of the line; `update` tells if it was shown."""

    def update(self, progress: Progress, label: str) -> bool: ...

    def end(self) -> None: ...


class _Lines:
    """Progress off a terminal: few lines, none of them ever changed."""

    def __init__(self, stream: _Stream, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock
        self._key: tuple[str, str] | None = None
        self._last = 0.0
        self._share = 0.0
        self._printed = False

    def update(self, progress: Progress, label: str) -> bool:
        now, share = self._clock(), _share(progress)
        if self._key != (progress.stage, progress.text):
            self._key = (progress.stage, progress.text)
            self._last, self._share, self._printed = now, share, False
            return False
        done = share >= 1 > self._share and self._printed
        due = now - self._last >= _SOONEST and (progress.total is None or share - self._share >= _TENTH)
        if not (done or due or now - self._last >= _LATEST):
            return False
        self._last, self._share, self._printed = now, share, True
        percent = f"{100 * share:3.0f} %  " if progress.total else ""
        self._stream.lines([f"{label}{progress.text}  {percent}{_amount(progress)}"])
        return True

    def end(self) -> None:
        """Nothing stands open."""


class _Bar:
    """Progress on a terminal: a bar that ends full, and stays as a line."""

    def __init__(self, file: TextIO, color: bool, clock: Callable[[], float]) -> None:  # noqa: FBT001
        self._file = file
        self._color = color
        self._clock = clock
        self._key: tuple[str, str] | None = None
        self._rich: RichProgress | None = None
        self._drawn = 0.0
        self._since = 0.0

    def update(self, progress: Progress, label: str) -> bool:
        key = (progress.stage, progress.text)
        finished = progress.total is not None and progress.done >= progress.total
        if self._key != key:
            self.end()
            self._key, self._since = key, self._clock()
        if self._rich is None:
            if finished or self._clock() - self._since < _WORTH_A_BAR:
                return False  # it stands there full already, or was done at once
            self._rich, self._drawn = self._started(label + visible(progress.text)), 0.0
        task = self._rich.task_ids[0]
        self._rich.update(task, completed=progress.done, total=progress.total, amount=_amount(progress))
        if finished or self._clock() - self._drawn >= _REFRESH:
            self._rich.refresh()
            self._drawn = self._clock()
        if finished:
            self.end()
        return True

    def end(self) -> None:
        if self._rich is not None:
            self._rich.stop()
            self._rich = None

    def _started(self, text: str) -> RichProgress:
        from rich.console import Console as RichConsole  # noqa: PLC0415 (slow; only bars need it)
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415
        from rich.progress import Progress as RichProgress  # noqa: PLC0415

        console = RichConsole(file=self._file, force_terminal=True, no_color=not self._color, highlight=False)
        bars = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[amount]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            get_time=self._clock,
        )
        bars.add_task(text, total=None, amount="")
        bars.start()
        return bars


def _share(progress: Progress) -> float:
    return progress.done / progress.total if progress.total else 0.0


def _amount(progress: Progress) -> str:
    """`1.2/12.1 GB` as downloads are told, `3/12`, or what is done where the total is not known."""
    if progress.unit == "s":
        return seconds_text(progress.done)
    if progress.unit != "B":
        return f"{progress.done}/{progress.total}" if progress.total is not None else str(progress.done)
    largest = progress.total or progress.done
    name, factor = next((pair for pair in _DECIMAL if largest >= pair[1]), _DECIMAL[-1])
    digits = 0 if factor == 1 else 1
    done = f"{progress.done / factor:.{digits}f}"
    return f"{done}/{progress.total / factor:.{digits}f} {name}" if progress.total else f"{done} {name}"


_DECIMAL = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3), ("B", 1))
