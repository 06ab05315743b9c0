"""The finished classifier: find it, load it, predict, export, serve, register, reproduce."""
