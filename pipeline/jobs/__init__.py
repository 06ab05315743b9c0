"""Jobs: their identity, the order of their stages, their outputs, resumption and logging."""
