"""How charts and pages look."""
