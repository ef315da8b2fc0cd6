"""GGUF files, in which llama.cpp keeps quantised models."""
