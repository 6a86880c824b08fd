"""Guest operating systems by vSphere's ids (VirtualMachineGuestOsIdentifier): what KVM cannot run, what has no drivers.

Which OS type of CloudStack's each of them gets is in ossea/guest_os.py.
"""

from __future__ import annotations

import re

_UNSUPPORTED = re.compile(
    r"darwin|vmkernel|netware|os2|eComStation|openServer|unixWare|mandrake|sunos|solaris[689](?!\d)|crx(Pod|Sys)", re.I
)
"""macOS (licence), ESXi itself, NetWare, OS/2, SCO, old Solaris, vSphere's own pods: no KVM, or no drivers."""

_BEFORE_VIRTIO = re.compile(
    r"(rhel|centos)[2-4]|(rhel|centos)[2-4]_64|sles(8|9)?(_64)?Guest|suse|debian[45]|redhat|other24x"
)
"""Linux of before kernel 2.6.25 (2008)."""


def unsupported(guest_id: str) -> bool:
    """Return whether a guest cannot run on KVM."""
    return bool(_UNSUPPORTED.match(guest_id))


def before_virtio(guest_id: str) -> bool:
    """Return whether a guest is a Linux without virtio drivers."""
    return bool(_BEFORE_VIRTIO.match(guest_id))
