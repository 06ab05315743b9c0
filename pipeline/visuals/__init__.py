"""Templates and style of charts and HTML pages."""
