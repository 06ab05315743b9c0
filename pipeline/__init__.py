"""Transfer learning on a folder of labelled pictures, as repeatable experiments."""
