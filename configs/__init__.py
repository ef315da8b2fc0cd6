"""Configs: plain `get_config()` files, complete and locked."""
