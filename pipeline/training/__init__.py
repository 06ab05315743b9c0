"""The fit loop that both phases share: what is learned from, at which rates, what is told of each epoch."""
