"""Stage `laboratory`: methods beside each other, over budgets and draws."""
