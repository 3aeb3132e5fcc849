"""What a build costs that has nothing to do, over `modelforge --version`.

Builds the quickstart once into a fresh store and state folder, then times the second build against start-up,
in paired runs. With `--host HOST:PORT` the build goes to that Ollama server, with `--image IMAGE` to containers of that
image on the engine of DOCKER_HOST, in a volume of its own. Exits 1 above the limit.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess  # noqa: TID251 (a benchmark times whole processes)
import sys
import tempfile
import time
from pathlib import Path

RUNS = 15
LIMIT_MS = 300
CONTAINER_LIMIT_MS = 1500
VOLUME = "modelforge-benchmark"
PROJECT = Path(__file__).parent.parent / "examples" / "quickstart"
FORGE = str(Path(sys.executable).with_name("modelforge"))


def milliseconds(command: list[str], environment: dict[str, str]) -> float:
    """Wall time of one run."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    return (time.perf_counter() - start) * 1000


def main() -> int:
    """Builds once, then times both in turn."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", help="an Ollama server; without it the embedded runtime")
    parser.add_argument("--image", help="an image with Ollama: builds in containers of it")
    arguments = parser.parse_args()
    host, image = arguments.host, arguments.image
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
            "MODELFORGE_STATE": f"{folder}/state",
            "MODELFORGE_CACHE": f"{folder}/cache",
            "MODELFORGE_STORE": f"{folder}/store",
            **({"MODELFORGE_DOCKER_IMAGE": image, "MODELFORGE_DOCKER_VOLUME": VOLUME} if image else {}),
        }
        runtime = "ollama" if host else "docker" if image else "embedded"
        where = ["--runtime", runtime, *(["--host", host] if host else [])]
        build = [FORGE, "-C", str(PROJECT), "build", "coding-assistant", *where]
        version = [FORGE, "--version"]
        milliseconds(build, environment), milliseconds(build, environment)
        pairs = [(milliseconds(build, environment), milliseconds(version, environment)) for _ in range(RUNS)]
    over = statistics.median(first - second for first, second in pairs)
    limit = CONTAINER_LIMIT_MS if image else LIMIT_MS
    place = host or image or "embedded"
    print(f"unchanged build {statistics.median(first for first, _ in pairs):.0f} ms on {place}")
    print(f"start-up        {statistics.median(second for _, second in pairs):.0f} ms")
    print(f"over start-up   {over:.0f} ms (limit {limit})")
    return 0 if over <= limit else 1


if __name__ == "__main__":
    sys.exit(main())
