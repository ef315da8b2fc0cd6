"""Methods: each puts the candidates in an order."""
