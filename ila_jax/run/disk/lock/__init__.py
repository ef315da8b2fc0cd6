"""The lock of a run's folder: who holds it, and whether that process lives."""
