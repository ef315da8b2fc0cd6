"""Methods that look at the labels of the records, which were given."""
