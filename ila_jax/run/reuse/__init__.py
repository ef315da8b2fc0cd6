"""What other runs have made already, and this one need not make again."""
