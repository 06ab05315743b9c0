"""From files on disk to batches: listing, splits, decoding, views, tf.data."""
