"""Data preparation, from a data source to a manifest."""
