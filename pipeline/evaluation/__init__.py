"""Quality of a model on the test images, and the uncertainty of its metrics."""
