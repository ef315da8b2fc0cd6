"""Shapes of records: which fields hold prompt, response and labels."""
