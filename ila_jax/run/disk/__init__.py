"""Files that are whole: written at once, checked when read, locked."""
