"""The body of each DVC stage."""
