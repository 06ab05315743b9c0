"""Fine-tuning in one or several rounds, with their unfreeze depth and the selection of weights."""
