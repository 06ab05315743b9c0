"""Export of classifiers to other formats, with a check that the predictions agree."""
