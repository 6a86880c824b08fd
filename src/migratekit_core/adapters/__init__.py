"""Other systems, as they are spoken to."""
