"""The lab: the real parts of both hosts on one machine, and the doubles of what cannot be had. Test code only."""
