"""The parts of the lab, one file each."""
