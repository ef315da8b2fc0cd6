"""The figures of the report, and how they look."""
