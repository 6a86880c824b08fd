"""Waves: machines that are moved together. The file, the plan, and what the database knows of each machine."""
