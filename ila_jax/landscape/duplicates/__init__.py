"""Near-duplicates: pairs of prompts that are nearly the same."""
