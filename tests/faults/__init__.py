"""The kill matrix: every part of a copy killed at random moments, and what the next run makes of it."""
