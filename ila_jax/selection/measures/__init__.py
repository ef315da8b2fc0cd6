"""What a selection is like, beside others."""
