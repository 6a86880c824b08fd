"""The recorded answers of a real management server, asked again of the lab's double (test_cloudstack_replay.py)."""
