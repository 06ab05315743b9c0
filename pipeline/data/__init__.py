"""From a data source to a manifest."""
