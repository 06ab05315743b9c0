"""A classifier in other formats, compared with the original before anything is written."""
