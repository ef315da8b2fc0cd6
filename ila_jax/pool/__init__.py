"""Stage `pool`: records of any shape become tokenized examples."""
