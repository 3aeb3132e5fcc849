"""`python -m modelforge`, and the console script."""

from __future__ import annotations

import os
import signal

INTERRUPTED = 130  # `ExitCode.INTERRUPTED`, before that can be imported


def main() -> None:
    """Imports the command line and runs it; Ctrl-C and SIGTERM end the import without a traceback."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # as `nohup` and a shell's `&` leave it: not ours to change
            signal.signal(number, _leave)
    from modelforge.cli import cli  # noqa: PLC0415 (what takes the time)
    from modelforge.cli.door import enter  # noqa: PLC0415

    for number, handler in before.items():
        signal.signal(number, handler)
    enter(cli)


def _leave(*_: object) -> None:
    os._exit(INTERRUPTED)  # nothing has been begun or printed yet


if __name__ == "__main__":
    main()
