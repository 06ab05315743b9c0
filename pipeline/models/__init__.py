"""Networks: backbones, classifiers, freezing of layers, and optimisation for speed."""
