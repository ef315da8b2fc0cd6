"""Sources: files, folders and data sets as raw records."""
