"""ILA with other depths, other shares of the cells, or several maps."""
