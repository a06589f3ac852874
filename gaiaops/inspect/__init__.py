"""What somebody on call asks: is it well, what runs, what is there. Read-only, bounded, and honest about the unseen."""
