"""Style of charts and pages."""
