"""The command `ila verify`: a run read again, and what differs in it."""
