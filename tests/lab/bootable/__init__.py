"""A small Linux that really boots: Debian's kernel, GRUB in the boot sector, busybox in an ext4 file system.

The lab serves it as a machine's disk in vCenter; after a failover the CloudStack double boots the migrated volume.
"""

from tests.lab.bootable.image import BANNER, GREETING, PORT, SIZE, Image, make

__all__ = ["BANNER", "GREETING", "PORT", "SIZE", "Image", "make"]
