"""Stage `embed`: each prompt becomes a vector."""
