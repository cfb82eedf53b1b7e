"""What the YAML may say, and how it is read. Opens no connection and never changes after start."""
