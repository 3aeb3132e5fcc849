"""The one door to other programs."""

from __future__ import annotations

import subprocess  # noqa: TID251 (this is the door)
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelforge.errors import BuildFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from typing_extensions import Self


@dataclass(frozen=True, kw_only=True, slots=True)
class Completed:
    """A program that has ended: exit code, and its output decoded with replacement characters."""

    code: int
    stdout: str
    stderr: str


def run(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    seconds: float | None = None,
    text: str | None = None,
) -> Completed:
    """Runs a program to its end, without a shell; `text` is its standard input, which is empty without it.

    Raises:
        BuildFailed: it is not there, or took longer than `seconds`.
    """
    try:
        done = subprocess.run(
            list(command),
            env=dict(environment) if environment is not None else None,
            cwd=folder,
            timeout=seconds,
            stdin=subprocess.DEVNULL if text is None else None,
            input=None if text is None else text.encode(),
            capture_output=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise BuildFailed(f"{command[0]} was not found", hint="install it, or put it on PATH") from error
    except subprocess.TimeoutExpired as error:
        raise BuildFailed(f"{command[0]} did not end within {seconds:.0f} s") from error
    return Completed(
        code=done.returncode,
        stdout=done.stdout.decode(errors="replace"),
        stderr=done.stderr.decode(errors="replace"),
    )


class _Program:
    """A program that is to be started. Its log is `log`, its working directory `folder` (default: ours)."""

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str], log: Path, folder: Path | None = None
    ) -> None:
        self._command = list(command)
        self._environment = dict(environment)
        self._log = log
        self._folder = folder


class Worker(_Program):
    """A program that answers lines on its standard input with lines on its standard output.

    Its standard error goes to `log`. It is a context manager; leaving it ends the program.
    """

    _process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C is for us; we end it in order
            )
        return self

    def __exit__(self, *_exc: object) -> None:
        process = self._process
        if process is None:
            return
        self._process = None
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):  # it may have ended before it read all that was sent
                    pipe.close()
        try:
            process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def send(self, line: str) -> None:
        """Writes one line.

        Raises:
            BrokenPipeError: the program has ended.
        """
        if self._process is None or self._process.stdin is None:
            raise BrokenPipeError
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def receive(self) -> str | None:
        """The next line without its end, or None if the program has ended."""
        if self._process is None or self._process.stdout is None:
            return None
        return self._process.stdout.readline().rstrip("\n") or None

    def exit_code(self) -> int | None:
        """The exit code (negative: the signal), None while it runs."""
        return self._process.wait(timeout=5) if self._process else None


class Background(_Program):
    """A program that runs until we end it, without standard input, all of its output in `log`.

    It is a context manager; leaving it ends the program, whatever the reason.
    """

    _process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Starts the program.

        Raises:
            OSError: it is not on the PATH of its environment, or cannot be run.
        """
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; we end it in order
            )
        return self

    def __exit__(self, *_exc: object) -> None:
        process = self._process
        if process is None:
            return
        try:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=2)
        finally:  # also where a second Ctrl-C ends the waiting
            if process.poll() is None:
                process.kill()
            process.wait()

    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The exit code (negative: the signal), None before its end."""
        return None if self._process is None else self._process.poll()
