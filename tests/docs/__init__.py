"""The documentation as a site, and what is checked of it."""
