"""From a profile in git to the Ollama model that fits the hardware, proven by tests."""

__all__ = ["__version__"]
__version__ = "0.1.0"
