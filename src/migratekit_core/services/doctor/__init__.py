"""Looks at everything that a run needs, on this host and behind the tunnel, and says what to do about what is wrong."""
