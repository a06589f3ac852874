"""What differs between two schemas. Pure."""
