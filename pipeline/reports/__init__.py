"""Charts and HTML reports made from the outputs of stages, without TensorFlow."""
