"""Guests: what is inside a disk, and made ready for another hypervisor."""
