"""The classifier outside the pipeline: found, loaded, asked, converted, served, registered."""
