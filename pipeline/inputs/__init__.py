"""Network inputs: decoded images, augmented variants, MixUp and CutMix, and tf.data batches."""
