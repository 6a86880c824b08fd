"""Measurements beside a peer, in turn (A B A B …), medians of the runs: ratios say more than seconds here."""
