"""MLflow's model registry: challenger, champion, and the gate between them."""
