"""What runs within the reader process: nbdkit's Python plugin, and the ways to read that it serves.

These modules use the standard library and each other, nothing else: nbdkit's interpreter has none of our packages, and
each disk has a process of its own. The other end of the channel, which has the session with vCenter, is `process.py`
of the package above.
"""
