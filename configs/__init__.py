"""The presets: plain `get_config()` files to run by name, or to copy."""
