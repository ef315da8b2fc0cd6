"""Stage `landscape`: cells of a map, and depth in every cell."""
