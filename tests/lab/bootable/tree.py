"""What is in the guest's file system: a kernel, an initramfs, busybox, and a few files of a Debian."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

BANNER = "MIGRATEKIT LAB GUEST IS UP"
"""What the guest writes to its console when it is up."""
PORT, GREETING = 2222, "MIGRATEKIT-LAB"
"""Where the guest answers, and how its answer begins."""
BUSYBOX = Path("/bin/busybox")
VIRTIO = (
    "net/core/failover", "drivers/net/net_failover", "drivers/virtio/virtio_ring", "drivers/virtio/virtio",
    "drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci_modern_dev", "drivers/virtio/virtio_pci",
    "drivers/block/virtio_blk", "drivers/net/virtio_net",
)  # fmt: skip
"""The kernel's modules in the order in which they need each other."""

INITRAMFS = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
for name in $(cat /modules.order); do insmod /modules/$name.ko; done
for word in $(cat /proc/cmdline); do case $word in root=*) root=${word#root=};; esac; done
tries=0
while ! device=$(findfs "$root" 2>/dev/null); do
  tries=$((tries + 1))
  [ $tries -le 50 ] || { echo "initramfs: no disk with the root file system $root"; sleep 86400; }
  sleep 0.1
done
mount -t ext4 "$device" /root || { echo "initramfs: $device cannot be mounted"; sleep 86400; }
umount /proc /sys /dev
exec switch_root /root /sbin/init
"""

INITTAB = """\
::sysinit:/etc/rcS
::respawn:/usr/sbin/greet
tty1::askfirst:/bin/sh
ttyS0::askfirst:/bin/sh
"""

START = f"""\
#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev
mount -o remount,rw /
hostname -F /etc/hostname
boots=$(($(cat /var/boots) + 1)); echo $boots > /var/boots
ip link set lo up
ip link set eth0 up && udhcpc -q -n -t 5 -i eth0 -s /etc/udhcpc >/dev/null 2>&1
sync
{{
  echo
  echo "{BANNER}"
  echo "  host    $(hostname), Linux $(uname -r)"
  echo "  root    $(awk '$2 == "/" {{print $1, $3}}' /proc/mounts | tail -n 1)"
  for disk in /sys/block/vd*; do
    echo "  disk    ${{disk##*/}}, $(($(cat $disk/size) / 2048)) MiB, serial $(cat $disk/serial)"
  done
  echo "  network eth0 $(cat /sys/class/net/eth0/address), $(ip -o -4 addr show eth0 | awk '{{print $4}}')"
  echo "  boot    number $boots of this disk"
}} > /tmp/banner
cat /tmp/banner > /dev/tty1
cat /tmp/banner > /dev/ttyS0
"""

DHCP = """\
#!/bin/sh
case $1 in bound | renew) ip addr replace $ip/$mask dev eth0; [ -z "$router" ] || ip route replace default via $router;;
esac
"""

DPKG = """\
#!/bin/sh
# busybox' dpkg does not list the files of a package, which virt-v2v asks for.
[ "$1" = -L ] && exec cat "/var/lib/dpkg/info/$2.list"
exec busybox dpkg "$@"
"""

UPDATE_INITRAMFS = """\
#!/bin/sh
# What virt-v2v calls in a Debian guest, as far as it does: -c -k VERSION. As Debian's own it takes the modules that are
# listed; those that these need come along.
set -e
while [ $# -gt 0 ]; do case $1 in -k) version=$2; shift;; esac; shift; done
work=$(mktemp -d); cd "$work"
mkdir proc sys dev root modules bin
cp /bin/busybox bin/; cp -p /usr/share/initramfs/init .
touch modules.order
wanted=
grep -q "^virtio_blk" /etc/initramfs-tools/modules && wanted=$(cat /usr/share/initramfs/modules)
for name in $wanted; do
  cp "/lib/modules/$version/kernel/$name.ko" modules/; echo "${name##*/}" >> modules.order
done
find . | cpio -o -H newc 2>/dev/null | gzip > "/boot/initrd.img-$version"
rm -r "$work"
"""

OS_RELEASE = """\
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
ID=debian
"""


FOLDERS = (
    *("proc", "sys", "dev", "tmp", "boot/grub", "sbin", "usr/sbin", "usr/bin", "root"),
    *("etc/default", "etc/modprobe.d", "etc/initramfs-tools"),
    *("var/lib/dpkg/info", "usr/share/initramfs"),
)


@dataclass(frozen=True)
class Kernel:
    """A kernel package that was unpacked, not installed."""

    release: str
    image: Path
    modules: Path


def kernel(cache: Path) -> Kernel:
    """Return the kernel that the set-up fetched. Raises FileNotFoundError where it did not."""
    images = sorted((cache / "kernel" / "boot").glob("vmlinuz-*"))
    if not images:
        raise FileNotFoundError(f"no kernel in {cache / 'kernel'}: run tests/lab/setup.sh")
    release = images[-1].name.removeprefix("vmlinuz-")
    return Kernel(release, images[-1], cache / "kernel" / "lib" / "modules" / release)


def root(folder: Path, work: Path, kernel: Kernel, file_system: str, virtio: bool) -> Path:
    """Make the folder that becomes the root file system, whose UUID is `file_system`."""
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
    _busybox(folder / "bin")
    (folder / "sbin" / "init").symlink_to("/bin/busybox")
    shutil.copy(kernel.image, folder / "boot")
    initramfs(folder / "boot" / f"initrd.img-{kernel.release}", work / "initramfs", kernel, VIRTIO if virtio else ())
    modules = folder / "lib" / "modules" / kernel.release
    for name in VIRTIO:
        (modules / "kernel" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(kernel.modules / "kernel" / f"{name}.ko", modules / "kernel" / f"{name}.ko")
    menu = (
        f"linux /boot/vmlinuz-{kernel.release} root=UUID={file_system} rw console=tty0 console=ttyS0 quiet nokaslr\n"
        f"initrd /boot/initrd.img-{kernel.release}\n"
    )
    files = {
        "boot/grub/grub.cfg": f"set timeout=0\nmenuentry 'Debian GNU/Linux' {{\n{menu}}}\n",
        "etc/inittab": INITTAB,
        "etc/fstab": f"UUID={file_system} / ext4 defaults 0 1\n",
        "etc/hostname": "labguest\n",
        "etc/os-release": OS_RELEASE,
        "etc/debian_version": "12.0\n",
        "etc/passwd": "root::0:0:root:/root:/bin/sh\n",
        "var/boots": "0\n",
        "etc/initramfs-tools/modules": "# Modules for the initramfs.\n",
        "etc/modprobe.d/lab.conf": "# What virt-v2v adds to.\n",
        "etc/default/grub": "GRUB_TIMEOUT=0\n",
        "usr/share/initramfs/modules": "".join(f"{name}\n" for name in VIRTIO),
        f"var/lib/dpkg/info/linux-image-{kernel.release}.list": _listed(kernel),
        "var/lib/dpkg/status": _package(f"linux-image-{kernel.release}") + _package("busybox-static"),
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    greet = f"#!/bin/sh\nexec nc -ll -p {PORT} -e echo {GREETING}\n"
    programs = {
        "bin/dpkg": DPKG,
        "etc/rcS": START,
        "etc/udhcpc": DHCP,
        "usr/sbin/greet": greet,
        "usr/sbin/update-initramfs": UPDATE_INITRAMFS,
        # Asked for as well; what GRUB shows stays as it is.
        "usr/sbin/grub-mkconfig": "#!/bin/sh\n",
        "usr/sbin/update-grub": "#!/bin/sh\n",
        "usr/share/initramfs/init": INITRAMFS,
    }
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def initramfs(target: Path, folder: Path, kernel: Kernel, modules: tuple[str, ...]) -> None:
    """Make an initramfs that loads these modules and mounts the root file system."""
    for name in ("proc", "sys", "dev", "root", "modules"):
        (folder / name).mkdir(parents=True)
    (folder / "bin").mkdir()
    shutil.copy(BUSYBOX, folder / "bin")
    for name in modules:
        shutil.copy(kernel.modules / "kernel" / f"{name}.ko", folder / "modules")
    (folder / "modules.order").write_text("".join(f"{Path(name).name}\n" for name in modules))
    (folder / "init").write_text(INITRAMFS)
    (folder / "init").chmod(0o755)
    subprocess.run(
        'set -o pipefail; find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet | gzip -6n > "$TARGET"',
        shell=True,
        executable="/bin/bash",
        cwd=folder,
        env={"TARGET": str(target.absolute()), "PATH": "/usr/bin:/bin"},
        check=True,
        capture_output=True,
        timeout=60,
    )


def _busybox(folder: Path) -> None:
    folder.mkdir()
    shutil.copy(BUSYBOX, folder)
    names = subprocess.run([str(BUSYBOX), "--list"], capture_output=True, text=True, check=True, timeout=30)
    for name in names.stdout.split():
        if name not in ("busybox", "dpkg"):
            (folder / name).symlink_to("busybox")


def _listed(kernel: Kernel) -> str:
    modules = [f"/lib/modules/{kernel.release}/kernel/{name}.ko" for name in VIRTIO]
    folder = f"/lib/modules/{kernel.release}"
    return "".join(f"{path}\n" for path in (f"/boot/vmlinuz-{kernel.release}", folder, *modules))


def _package(name: str) -> str:
    return f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\nDescription: lab\n\n"
