"""Exchanges: questions and answers in a conversation, and beside one."""
