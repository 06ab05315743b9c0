"""Backbones, and what is made of them: preprocessing, head, freezing, cuts."""
