"""From a manifest to batches: decoded images, augmented variants, MixUp, tf.data."""
