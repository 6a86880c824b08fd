"""Builds what is released: sdist, wheel, man pages, shell completion, and a Debian package."""
