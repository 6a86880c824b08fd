#!/bin/bash
# PID 1 of the machine that installs the OMA: this very system goes into a volume group on another disk, as Debian's
# installer does it with LVM, and the disks of replicas are made. Everything goes to the console; its last line counts.
set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive
trap 'echo "INSTALL FAILED at line $LINENO"; sync; echo o > /proc/sysrq-trigger; sleep 60' ERR
for place in proc sysfs:/sys devtmpfs:/dev tmpfs:/run tmpfs:/tmp; do
  folder=/${place#*:}; folder=/${folder##*/}
  mountpoint -q $folder || mount -t ${place%:*} ${place%:*} $folder
done
for word in $(cat /proc/cmdline); do case $word in lab.*=*) declare "${word#lab.}";; esac; done
for module in virtio_blk virtio_scsi sd_mod dm_mod raid1 btrfs ext4; do modprobe $module; done
/lib/systemd/systemd-udevd --daemon; udevadm trigger --action=add; udevadm settle
disk() { readlink -f "/dev/disk/by-id/virtio-$1"; }
TARGET=$(disk "$OMA_ROOT") DATA=$(readlink -f /dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_"$OMA_DATA")

echo "install: the OMA's own disks"
printf 'start=1MiB,size=256MiB,type=83,bootable\ntype=8e\n' | sfdisk -q "$TARGET"
udevadm settle
mkfs.ext4 -q -L oma-boot "${TARGET}1"
pvcreate -q "${TARGET}2"; vgcreate -q oma "${TARGET}2"
lvcreate -q -y -L 2600M -n root oma; lvcreate -q -y -L 128M -n swap oma
mkfs.ext4 -q -L oma-root /dev/oma/root; mkswap -q /dev/oma/swap
pvcreate -q "$DATA"; vgcreate -q omadata "$DATA"; lvcreate -q -y -l 100%FREE -n srv omadata; mkfs.ext4 -q /dev/omadata/srv
mount /dev/oma/root /mnt; mkdir /mnt/boot; mount "${TARGET}1" /mnt/boot
rsync -aHx / /mnt/
cat > /mnt/etc/fstab <<END
/dev/mapper/oma-root / ext4 errors=remount-ro 0 1
UUID=$(blkid -o value -s UUID "${TARGET}1") /boot ext4 defaults 0 2
/dev/mapper/oma-swap none swap sw 0 0
/dev/mapper/omadata-srv /srv ext4 defaults 0 2
END
cat > /mnt/etc/default/grub <<'END'
GRUB_DEFAULT=0
GRUB_TIMEOUT=0
GRUB_DISABLE_OS_PROBER=true
GRUB_TERMINAL=serial
GRUB_CMDLINE_LINUX="console=ttyS0 nokaslr"
END
for place in dev proc sys run; do mount --bind /$place /mnt/$place; done
chroot /mnt grub-install --target=i386-pc "$TARGET"
chroot /mnt update-grub
for place in dev proc sys run boot; do umount /mnt/$place; done
umount /mnt; vgchange -q -an oma omadata

echo "install: what is in the replicas"
LVM=$(disk "$REPLICA_LVM")
printf 'start=1MiB,size=16MiB,type=83,bootable\ntype=8e\n' | sfdisk -q "$LVM"
udevadm settle
mkfs.ext4 -q -L oma-boot "${LVM}1"
# Of the same name as the OMA's own: the OMA's disk is out of sight.
FILTER="devices{filter=[\"a|^${LVM}2\$|\",\"r|.*|\"]}"
pvcreate -q --config "$FILTER" "${LVM}2"; vgcreate -q --config "$FILTER" oma "${LVM}2"
lvcreate -q -y --config "$FILTER" -L 32M -n theirs oma
UUID=$(vgs --config "$FILTER" --noheadings -o vg_uuid oma | tr -d ' ')
mkfs.ext4 -q -L theirs /dev/oma/theirs; vgchange -q -an --config "$FILTER" --select "vg_uuid=$UUID"
# One that has a name of its own: nothing stands in its way but the filter.
PLAIN=$(disk "$REPLICA_VG")
pvcreate -q "$PLAIN"; vgcreate -q guestvg "$PLAIN"; lvcreate -q -y -L 32M -n guestlv guestvg; vgchange -q -an guestvg
mdadm --create /dev/md/theirs --run --quiet --level=1 --raid-devices=2 --metadata=1.2 --homehost=elsewhere \
  "$(disk "$REPLICA_MD1")" "$(disk "$REPLICA_MD2")"
mkfs.ext4 -q -L in-md /dev/md/theirs; udevadm settle; mdadm --stop --quiet /dev/md/theirs
mkfs.btrfs -q -L in-btrfs -d raid1 -m raid1 "$(disk "$REPLICA_BTRFS1")" "$(disk "$REPLICA_BTRFS2")"
mkfs.ext4 -q -L data "$(disk "$REPLICA_EXT4")"
mkfs.ext4 -q -L paths "$(disk "$REPLICA_PATHS")"
udevadm control --exit
sync; mount -o remount,ro / || :
echo "INSTALL DONE"
sync; echo o > /proc/sysrq-trigger; sleep 60
