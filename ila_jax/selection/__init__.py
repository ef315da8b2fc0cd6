"""Stage `select`: an order, cut at the budget."""
