"""Networks: backbones, the classifiers built on them, freezing, and their fastest forms."""
