"""A run's folder: stages and their records, progress, draws, interrupts."""
