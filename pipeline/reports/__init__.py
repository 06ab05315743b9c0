"""Charts and pages, drawn from the stages' tables; no TensorFlow."""
