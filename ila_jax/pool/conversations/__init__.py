"""Conversations: messages and transcripts as turns."""
