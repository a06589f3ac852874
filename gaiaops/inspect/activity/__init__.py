"""What runs on a server, and who waits for whom."""
