"""The report about a machine's migration: as a page, as a document, and in a few lines."""
