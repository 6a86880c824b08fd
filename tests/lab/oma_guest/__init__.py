"""A Debian guest (qemu, TCG) that plays the OMA: systemd, its own volume groups, disks plugged in as by CloudStack."""

from tests.lab.oma_guest.guest import Guest, GuestError, running
from tests.lab.oma_guest.image import OWN_DATA, OWN_ROOT, REPLICAS, Images, make, serial

__all__ = ["OWN_DATA", "OWN_ROOT", "REPLICAS", "Guest", "GuestError", "Images", "make", "running", "serial"]
