"""Methods that look at how alike the prompts are, without a map."""
