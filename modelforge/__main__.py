"""`python -m modelforge`, and the console script."""

from __future__ import annotations

from modelforge.cli import main

if __name__ == "__main__":
    main()
