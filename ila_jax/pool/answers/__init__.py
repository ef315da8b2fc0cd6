"""Answers that stand beside what they answer."""
