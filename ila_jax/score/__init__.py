"""Stage `score`: the losses of each response, before and after a trial."""
