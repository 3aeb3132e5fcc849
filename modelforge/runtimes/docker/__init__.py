"""The `docker` runtime: an Ollama in a container that lives as long as the command, its models in a volume."""
