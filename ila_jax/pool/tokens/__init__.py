"""Tokens: chat templates, tokenizers, and the mask of the response."""
