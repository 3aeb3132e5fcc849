"""What a server that is started for a profile runs with, so that it is the one that the plan is for.

`[resolve]` says what the plan counts on. `[serve]` may say the same again, never something else: a profile in
which the two differ does not load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modelforge.runtimes import Need

if TYPE_CHECKING:
    from modelforge.hardware import Hardware
    from modelforge.profile import Profile

KV_CACHE = "OLLAMA_KV_CACHE_TYPE"
FLASH = "OLLAMA_FLASH_ATTENTION"
PARALLEL = "OLLAMA_NUM_PARALLEL"
KEEP_ALIVE = "OLLAMA_KEEP_ALIVE"
VARIABLES = (KV_CACHE, FLASH, PARALLEL, KEEP_ALIVE)
"""What `[resolve]` and `[serve]` decide."""

_FULL = frozenset({"f16", "bf16"})


def need_of(profile: Profile, hardware: Hardware) -> Need:
    """What a server has to have for a profile on a hardware."""
    return Need(gpus=len(hardware.devices), settings=settings_of(profile))


def settings_of(profile: Profile) -> dict[str, str]:
    """Ollama's variables for a profile. A quantized cache needs flash attention, which `auto` may leave out."""
    resolve, serve = profile.resolve, profile.serve
    found = {KV_CACHE: resolve.kv_cache, PARALLEL: str(resolve.parallel)}
    if resolve.flash_attention != "auto":
        found[FLASH] = "1" if resolve.flash_attention == "on" else "0"
    elif resolve.kv_cache not in _FULL:
        found[FLASH] = "1"
    if serve.keep_alive is not None:
        found[KEEP_ALIVE] = serve.keep_alive
    return found
