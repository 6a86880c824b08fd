"""The report of a wave: as a document for machines, and as one HTML file."""
