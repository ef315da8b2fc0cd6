"""Stage `scaling`: dev loss by coverage and depth."""
