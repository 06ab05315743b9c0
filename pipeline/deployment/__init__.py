"""Use of trained classifiers: loading, prediction, export, serving, registration and reproduction."""
