"""What every command has in common on the screen: tables, live display, questions."""
