"""Forward passes over many examples: layouts, batches, losses."""
