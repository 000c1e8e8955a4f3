"""What a slide's prediction is exported to."""
