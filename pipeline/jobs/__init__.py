"""One job: identity, order of stages, outputs written whole, resumption, logging."""
