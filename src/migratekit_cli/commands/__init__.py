"""One file per command: options, one call of the core, rendering."""
