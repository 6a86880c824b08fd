"""What an error is, for programs. docs/troubleshooting.md is made of this file: what each code means (first line) and
what to do about it (second line).

A code is a kind of fault that an operator or a script would tell apart from others. It means one thing; what the error
is about (which machine, which file) are its facts.
"""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """What an error is: programs decide by it, and never by its wording. Values are part of the interface."""

    # Of every program

    UNKNOWN = "unknown"
    """Another program reported something that MigrateKit does not know; its words are the error's second line.
    Look for these words in that program's own documentation and log."""
    UNEXPECTED = "unexpected"
    """An error of MigrateKit itself.
    Run the command again with `--debug`, and report what it says."""
    CANCELLED = "cancelled"
    """The run was asked to stop: by Ctrl-C, by SIGTERM, or by another command.
    Run the command again: it goes on from where it was."""
    PROCESS_DIED = "process-died"
    """A process that works for the command has ended without a word; the second line has the last of its log.
    Run the command again. If it dies again, look in the kernel's log whether memory ran out."""
    NO_SPACE = "no-space"
    """A file system or a volume's storage is full.
    Free space, then run the command again: it goes on from where it was."""
    BAD_ANSWER = "bad-answer"
    """A service answered something that makes no sense.
    Compare the versions of both sides; is something else listening at that address?"""
    THROTTLED = "throttled"
    """CloudStack limits how often an account may call it.
    Raise `api.throttling.max` in CloudStack, or run fewer commands at a time."""

    # The command line and the configuration

    USAGE = "usage"
    """An option or argument is missing, not understood, or does not go with another one.
    Correct it; the second line says what is wrong, and `--help` what there is."""
    NO_TERMINAL = "no-terminal"
    """The command asks something, and there is no terminal to ask on.
    Pass `--yes`, or the answers as options."""
    CONFIG_INVALID = "config-invalid"
    """The configuration holds something that is wrong.
    `migratekit config validate` names every mistake; [configuration](configuration.md) has all settings."""
    CONFIG_MISSING = "config-missing"
    """The command needs a setting, table or profile that the configuration does not have.
    Write it: [configuration](configuration.md), or `migratekit config init`."""
    SECRET_UNREADABLE = "secret-unreadable"  # noqa: S105 - a code
    """A password, key or token cannot be read from where the configuration says that it is.
    Look at the file, variable, keyring or command that the setting names."""
    FILE_UNREADABLE = "file-unreadable"
    """A file cannot be read: it is not there, or this user may not.
    Check its name and its rights."""
    FILE_UNWRITABLE = "file-unwritable"
    """A file cannot be written.
    Check the folder's rights, or name another file."""
    FILE_EXISTS = "file-exists"
    """A file or folder that would be made is there already.
    Name another one, or say that it may be replaced (`--force`, `--replace`)."""
    FILE_INVALID = "file-invalid"
    """A file does not hold what it should.
    Correct the line or key that the second line names."""
    FILE_NOT_PRIVATE = "file-not-private"
    """A file with a secret may be read or changed by others.
    `chmod 600 FILE`; a folder: `chmod 700 FOLDER`."""
    NOT_INSTALLED = "not-installed"
    """A program or library that this needs is not installed, or does not run.
    Install it: the third line names the package or the command."""

    # Databases and jobs

    DATABASE_UNREACHABLE = "database-unreachable"
    """A database does not answer.
    Check that MariaDB runs on the OMA, and the tunnel: `migratekit tunnel status`."""
    DATABASE_LOGIN_REFUSED = "database-login-refused"
    """A database refused user or password.
    Check `database.user` and `database.password`."""
    DATABASE_BUSY = "database-busy"
    """A database takes no more connections, or does not get to a statement in time.
    Run the command again a moment later; if it stays so, raise MariaDB's `max_connections`."""
    DATABASE_SLOW = "database-slow"
    """A database did not answer a statement in time, which was ended.
    `migratekit doctor` shows its size and growth; `migratekit jobs prune` deletes what is old."""
    DATABASE_REFUSED = "database-refused"
    """A database refused a statement.
    `migratekit db check` compares its tables with what this version writes."""
    SCHEMA_MISMATCH = "schema-mismatch"
    """The tables are not those that this version writes.
    `migratekit db check` says what differs, `migratekit db upgrade` changes it and keeps every row."""
    SCHEMA_MISSING = "schema-missing"
    """A database has no tables yet.
    `migratekit db upgrade` makes them."""
    KEY_WRONG = "key-wrong"
    """A stored secret cannot be decrypted: it was stored with another `database.encryption_key`.
    Restore that key, or store the secret again."""
    LOCKED = "locked"
    """Another run works on this machine.
    Wait for its end (`migratekit jobs list`), or cancel it (`migratekit jobs cancel`)."""
    ALREADY_RUNNING = "already-running"
    """There may be only one of these at a time, and one runs.
    Wait for its end, or stop it."""
    CLAIM_LOST = "claim-lost"
    """A worker was silent for too long, and its machine or its places were given to another one.
    Nothing: the work goes on elsewhere. Is the host overloaded?"""
    JOB_NOT_FOUND = "job-not-found"
    """No job has an id that begins so.
    `migratekit jobs list` shows all of them."""
    AMBIGUOUS = "ambiguous"
    """Several jobs, volumes or the like have this name, or an id that begins so.
    Give the whole id."""
    JOB_NOT_LISTENING = "job-not-listening"
    """A job does not take what was asked of it: it has ended, listens to no such thing, or cannot be stopped any more.
    The second line says which; after the point of no return `migratekit rollback` leads back."""
    JOB_ALIVE = "job-alive"
    """A job cannot be given up, since its process may live.
    End that process on its own host."""
    COLLECTOR_REFUSED = "collector-refused"
    """The collector of traces does not answer, or did not take them.
    Check the table [otel]; `migratekit jobs export JOB --otel` sends them again."""

    # vCenter and the source machines

    VCENTER_UNREACHABLE = "vcenter-unreachable"
    """vCenter does not answer, or the connection to it broke, or another server answers there.
    Check `vcenter.host`, `vcenter.port`, the network between, and whether vCenter's services run."""
    VCENTER_UNTRUSTED = "vcenter-untrusted"
    """vCenter's certificate is signed by a CA that this host does not know, or is of another name.
    Set `vcenter.ca_file` to its CA (https://VCENTER/certs/download.zip), and `vcenter.host` to a name in it."""
    VCENTER_LOGIN_REFUSED = "vcenter-login-refused"
    """vCenter refused user or password.
    Check `vcenter.user` and `vcenter.password`: is the account locked, its password past its end?"""
    VCENTER_SESSION_ENDED = "vcenter-session-ended"
    """vCenter ended the session at a call, and the one that was begun for it, too.
    Look who ends sessions there, and run the command again."""
    VCENTER_PRIVILEGE_MISSING = "vcenter-privilege-missing"
    """vCenter's account lacks a privilege, or may not read the disk.
    Grant it: [permissions](permissions.md) lists what each command needs."""
    TAGS_UNAVAILABLE = "tags-unavailable"
    """The source has no tags, or they were not read.
    Leave out what asks for tags, or name vCenter where an ESXi host was named."""
    VM_NOT_FOUND = "vm-not-found"
    """No virtual machine has this name, path, uuid or id.
    `migratekit discover` shows all that the account may see."""
    VM_AMBIGUOUS = "vm-ambiguous"
    """Several machines have this name.
    Name one by its inventory path, or by its id."""
    VM_BUSY = "vm-busy"
    """vCenter works on the machine just now.
    Wait for that task, then run the command again."""
    VM_UNFIT = "vm-unfit"
    """The machine cannot be replicated as it is: a template, not accessible, without disks, or with an odd one.
    `migratekit assess VM` says what else stands in the way."""
    VM_DELETED = "vm-deleted"
    """The machine was deleted in vCenter while the command worked on it.
    `migratekit volumes drift` names what is left of its replica, and the commands that delete it."""
    VM_ASKS = "vm-asks"
    """The machine asks something in vCenter, and no task of it goes on before that is answered.
    Answer it in the vSphere Client: the question stands in the second line, and on the machine's summary."""
    CONSOLIDATION_NEEDED = "consolidation-needed"
    """Disks of snapshots that are gone are left at the source, and vSphere cannot merge them now.
    Look what has the files locked (a backup, another host), then consolidate in vCenter (Snapshots > Consolidate)."""
    REMOVAL_PENDING = "removal-pending"
    """vSphere still removes the snapshot of an earlier sync; while it does, no other can be taken.
    Wait for that task in vCenter, then run the command again."""
    DATASTORE_FILLS = "datastore-fills"
    """The source's datastore has less free space than `source.min_free`, and a snapshot grows with what is written.
    Free space there, then run the command again: it goes on from where it was."""
    SOURCE_CHANGED = "source-changed"
    """Somebody changed the disks of the machine, or removed the snapshot that was read, while the command ran.
    Run the command again: what changed meanwhile is copied then."""
    CBT_IMPOSSIBLE = "cbt-impossible"
    """Changed-block tracking is off, and cannot be switched on, or does nothing.
    Remove or consolidate the machine's snapshots in vCenter; switch `ctkEnabled` off and on where it stays so."""
    CBT_EPOCH_LOST = "cbt-epoch-lost"
    """vSphere cannot tell any more what has changed since the last sync.
    The next sync copies all; `migratekit replicate VM --compare` sends only what differs."""
    SOURCE_RUNS = "source-runs"
    """The source machine runs, and what was asked needs it to be off.
    Shut it down, allow it with `--power-off`, or take the failover back: the third line says which."""
    READER_UNFIT = "reader-unfit"
    """No source reader can read this disk, or not the one that is chosen.
    The second line has the cause: [what is refused](readers.md#what-is-refused)."""
    SOURCE_UNREACHABLE = "source-unreachable"
    """An ESXi host does not answer the source reader.
    Open its port (443, 902, 22) for this host; for `ssh` start its SSH service."""
    SOURCE_UNTRUSTED = "source-untrusted"
    """An ESXi host shows another key or certificate than the one that is known.
    Compare it at the host's console; only if the host was reinstalled, take the new one."""
    SOURCE_LOGIN_REFUSED = "source-login-refused"
    """An ESXi host or vCenter refused the source reader's login.
    Check the user, key or password of that reader: [readers](readers.md)."""
    SOURCE_LOCKED = "source-locked"
    """A disk's file is held by another tool (a backup, another reader), and was for as long as `source.patience`.
    Look what reads this machine's disks just now, wait for its end, then run the command again."""
    SOURCE_FILE_MISSING = "source-file-missing"
    """The source has no file of the name that vSphere has for the disk.
    Look for it in the datastore browser; if the disk was moved meanwhile, run the command again."""

    # The copy

    SIZE_MISMATCH = "size-mismatch"
    """Two sides that must have one size do not.
    Was the disk or the volume resized meanwhile? Run the command again; else compare what both sides say."""
    DISK_READ_FAILED = "disk-read-failed"
    """Bytes of a disk or volume could not be read; the first line says where.
    Look at the storage below: dmesg, and the reader's log. Nothing is ever replaced by zeros."""
    DISK_WRITE_FAILED = "disk-write-failed"
    """Bytes could not be written to, or flushed on, a volume.
    Look at the OMA's storage: dmesg, and the exporter's log."""
    TARGET_UNFIT = "target-unfit"
    """An export cannot be written, or does not flush: nothing that is copied there would be safe.
    Export the volume again; check what serves it."""
    NBD_UNREACHABLE = "nbd-unreachable"
    """An NBD server does not answer.
    Check that the reader or the exporter runs, and the tunnel: `migratekit tunnel status`."""
    DATA_DIFFERS = "data-differs"
    """A volume does not hold what its source holds.
    `migratekit replicate VM --compare` repairs it; find out why before you cut over."""

    # The tunnel and its certificates

    TUNNEL_DOWN = "tunnel-down"
    """The local end of the tunnel is not up, or did not come up.
    `migratekit tunnel status` says why; check the table [tunnel]."""
    TUNNEL_UNFIT = "tunnel-unfit"
    """An end of the tunnel cannot work as it is configured; the second line says why.
    Check the files and addresses that it names; on the OMA: `migratekit tunnel server check`."""
    OMA_UNREACHABLE = "oma-unreachable"
    """The OMA does not answer on its port, or its name cannot be resolved.
    Check `tunnel.host`, `tunnel.port`, the resolver, the network, and the OMA's firewall."""
    OMA_NOT_LISTENING = "oma-not-listening"
    """The OMA answers, and nothing listens on its port.
    On the OMA: `systemctl start migratekit-tunnel`."""
    CONNECTION_CLOSED = "connection-closed"
    """The other end took the connection, and closed it without a word.
    Look at the service behind it: `migratekit tunnel server check` on the OMA, and its log."""
    WRONG_SERVICE = "wrong-service"
    """What answers speaks another protocol: no TLS, no SSH.
    Check `tunnel.host` and `tunnel.port`: another service listens there."""
    TLS_VERSION = "tls-version"
    """The two ends have no TLS version in common; the tunnel is TLS 1.3 alone.
    Is the port behind something that ends TLS itself? It must be passed through."""
    CERTIFICATE_EXPIRED = "certificate-expired"
    """A certificate is past its end, or the clock of the one that judges it is wrong.
    [Renew it](tunnel.md#certificates), or set the clock: [what each refusal means](tunnel.md#refusals)."""
    CERTIFICATE_EARLY = "certificate-early"
    """A certificate is not valid yet.
    Compare the clocks of both hosts."""
    CERTIFICATE_REVOKED = "certificate-revoked"
    """A certificate is on the list of revoked ones.
    If that was not meant, [issue a new one](tunnel.md#certificates)."""
    CERTIFICATE_FOREIGN = "certificate-foreign"
    """A certificate was signed by another CA.
    Both hosts need files of one CA: compare ca.pem on both (`sha256sum`)."""
    CERTIFICATE_UNFIT = "certificate-unfit"
    """A certificate was not issued for what it is shown for: another name, a server, a client, a part of a fleet.
    Put the right file of this host there, or issue one for that part."""
    CERTIFICATE_REFUSED = "certificate-refused"
    """The other end wants a certificate and got none, or does not take it and does not say why.
    Set `tunnel.cert_file`; compare ca.pem, crl.pem and the clocks of both hosts."""
    CERTIFICATE_UNUSABLE = "certificate-unusable"
    """A file of certificates or keys cannot be used.
    Check the files of the table [tunnel]: PEM, the key to the certificate, readable for this user."""
    CRL_UNUSABLE = "crl-unusable"
    """The list of revoked certificates is past its end, or another CA's.
    Copy ca.pem and crl.pem of one folder here."""
    CERTIFICATE_EXISTS = "certificate-exists"
    """A host of this name has a certificate already.
    Rotate it: `migratekit tunnel pki rotate NAME`."""
    CERTIFICATE_NOT_ISSUED = "certificate-not-issued"
    """The CA has issued no certificate of this name, or none that is valid.
    `migratekit tunnel pki show` lists all."""
    CA_ROTATION = "ca-rotation"
    """The CA is being rotated, or is not, or its old half is still in use.
    `migratekit tunnel pki show` tells how far it is; `migratekit tunnel pki rotate ca --finish` ends it."""
    SYSTEMD_REFUSED = "systemd-refused"
    """systemd does not start a service.
    `journalctl -u UNIT` says why."""
    HOST_KEY_MISMATCH = "host-key-mismatch"
    """The OMA shows another host key than the one that is pinned.
    Ask its administrator whether the key changed; only then change `tunnel.ssh.host_key`."""
    SSH_KEY_UNUSABLE = "ssh-key-unusable"
    """There is no key for the OMA, or it is damaged, or its passphrase is not known.
    Set `tunnel.ssh.key_file` and `tunnel.ssh.passphrase`, or add a key to the agent."""
    SSH_KEY_REFUSED = "ssh-key-refused"
    """The OMA does not take this host's key.
    On the OMA: `migratekit tunnel server authorize KEY.pub`."""
    SSH_CHANNEL_REFUSED = "ssh-channel-refused"
    """The OMA opens no connection to one of its services for this key.
    On the OMA: check `permitopen` of the key in authorized_keys, and that the service runs."""

    # The volume daemon

    DAEMON_UNREACHABLE = "daemon-unreachable"
    """The volume daemon does not answer.
    Check that it runs on the OMA (`systemctl status migratekit-volumed`), and the tunnel."""
    DAEMON_TOKEN_REFUSED = "daemon-token-refused"  # noqa: S105 - a code
    """The volume daemon does not take the token.
    Compare `volumes.token` with the file of `daemon.token_file` on the OMA: [the token](api.md#the-token)."""
    REQUEST_INVALID = "request-invalid"
    """A request to the volume daemon is malformed, too large, or of no route.
    Are daemon and command of one version? /openapi.json describes its routes."""
    OPERATION_STUCK = "operation-stuck"
    """An operation of the volume daemon does not end.
    `migratekit volumes operations`, and the jobs of CloudStack that it waits for."""
    VOLUME_BUSY = "volume-busy"
    """An operation works on the volume.
    Wait for it to end; the second line names it."""
    VOLUME_FAILED = "volume-failed"
    """CloudStack did not make a volume, or does not finish it.
    Look at its events in CloudStack, then run the command again."""
    OFFERING_UNFIT = "offering-unfit"
    """The disk offering has a fixed size, and replicas have the size of their disks; or a disk is beyond what
    CloudStack makes of custom offerings.
    Set `ossea.disk_offering` to a custom one; `custom.diskoffering.size.min` and `.max` are the cloud's limits."""
    DEVICE_MISSING = "device-missing"
    """CloudStack has attached a volume, and no disk with its serial appears on the OMA.
    Look at dmesg and `lsblk -o NAME,SIZE,SERIAL` on the OMA, then run again: it is attached anew."""
    DEVICE_UNREADABLE = "device-unreadable"
    """The volume daemon may not open a volume's device.
    Run it as its unit does, in the group disk."""
    DEVICE_HELD = "device-held"
    """A volume is detached, and Linux still has its device.
    Find who holds it open (`lsof`) on the OMA."""
    SAME_SERIAL = "same-serial"
    """Several devices of the OMA have the serial of one volume.
    Find out which is which before anything is written."""
    DEVICE_MOUNTED = "device-mounted"
    """A volume's device is mounted on the OMA, or is swap space there.
    Unmount it (`findmnt`, `swapon`), and find out who mounted it: nothing on the OMA may."""
    DEVICE_CLAIMED = "device-claimed"
    """A volume's device is part of a volume group, an array or a mapping on the OMA.
    Deactivate that (`lsblk`), and find out what activated it: nothing on the OMA may."""
    DEVICE_OPEN = "device-open"
    """A process on the OMA, other than the daemon and its exporter, has a volume's device open.
    End it (`lsof`), then run again."""
    FILTER_MISSING = "filter-missing"
    """A filter that keeps the OMA's Linux from activating what is in a replica is not there, or not in force.
    As root on the OMA: `migratekit volumes daemon filters`."""
    FILTER_UNFIT = "filter-unfit"
    """With its filters the OMA would not find a disk of its own, or a disk is used that they take for a replica.
    Is the disk the OMA's own? As root on the OMA: `migratekit volumes daemon filters --own DEVICE`."""
    EXPORT_IN_USE = "export-in-use"
    """Somebody is connected to an export.
    Wait for the copy to end, or stop it."""
    EXPORT_BROKEN = "export-broken"
    """An export was made, and cannot be connected to.
    Look at the exporter's log on the OMA."""
    EXPORTER_DOWN = "exporter-down"
    """The NBD exporter does not start, or its connections cannot be seen.
    Free its port, or set `daemon.nbd_port`; run the daemon as one user."""
    LISTEN_FAILED = "listen-failed"
    """A service cannot listen on its address.
    Is another one running there? Set another address."""
    EXPORTED = "exported"
    """A volume is exported over NBD, and must not be for what was asked.
    `migratekit volumes unexport VOLUME`."""
    ATTACHED = "attached"
    """A volume is attached, and must not be for what was asked.
    `migratekit volumes detach VOLUME`."""
    ATTACHED_ELSEWHERE = "attached-elsewhere"
    """A volume is attached to another virtual machine.
    `migratekit volumes list` shows to which; detach it there first."""
    NOT_ATTACHED = "not-attached"
    """A volume is not attached, and has to be for what was asked.
    `migratekit volumes attach VOLUME`."""
    NEVER_ATTACHED = "never-attached"
    """A volume without content: CloudStack gives it storage when it is attached for the first time.
    Attach it once."""
    NOT_OURS = "not-ours"
    """The thing does not carry MigrateKit's tag, or was not made by this failover.
    It is left alone. Rename it, or delete it in CloudStack, if it is nobody's."""
    NO_RECORD = "no-record"
    """A volume carries MigrateKit's tag, and this installation has no record of having made it.
    Is it another OMA's? Where the database was restored, or the volume is a replica of it: `migratekit db upgrade`."""
    ROOT_DISK = "root-disk"
    """A volume is the root disk of a machine that MigrateKit did not make.
    It is left alone. Detach it in CloudStack, if that machine does not need it."""
    OMA_DISK = "oma-disk"
    """A volume is the root disk of the OMA itself.
    Look at the id: nothing is ever done to it."""
    RECENT_REPLICA = "recent-replica"
    """A replica that is to be deleted was synced in the last days (`volumes.retention`).
    If its content shall be lost all the same: `--yes-delete`, besides `--yes`."""
    IN_FAILOVER = "in-failover"
    """A machine or a volume is part of a failover or a rehearsal.
    Take that away (`migratekit cleanup`), go on with it (`failover`), or give it back (`rollback`)."""
    ROOT_SWAP_REFUSED = "root-swap-refused"
    """CloudStack lets no volume of `ossea.disk_offering` be the root disk of a machine. Nothing was shut down.
    Managed primary storage does that: set `ossea.disk_offering` to one whose tag leads to other storage."""
    OMA_FULL = "oma-full"
    """All disks that the OMA takes are in use by runs that will end.
    Wait, run fewer machines at a time, or use a second OMA: [runbook](runbook.md#busyerror)."""

    # CloudStack

    CLOUDSTACK_UNREACHABLE = "cloudstack-unreachable"
    """CloudStack does not answer.
    Look at the management server, and at what stands before it."""
    BAD_CREDENTIALS = "bad-credentials"
    """CloudStack refused the API key or its signature.
    Check `ossea.api_key` and `ossea.secret_key`, and this host's clock."""
    NOT_ALLOWED = "not-allowed"
    """The account's role lacks a command of CloudStack's API.
    Add it to the role: [permissions](permissions.md)."""
    NOT_PERMITTED = "not-permitted"
    """The thing belongs to another account.
    Use the keys of a user of the account that owns the OMA: [permissions](permissions.md#cloudstack)."""
    DIFFERENT_ACCOUNTS = "different-accounts"
    """Two things that are to be joined belong to different accounts.
    Use the keys of a user of the account that owns the OMA; `migratekit doctor` compares them."""
    EXPUNGE_NOT_ALLOWED = "expunge-not-allowed"
    """The account may not expunge virtual machines.
    Set `allow.user.expunge.recover.vm`; the role needs expungeVirtualMachine: [expunging](permissions.md#expunging)."""
    QUOTA = "quota"
    """A limit of the account, the project or the domain is reached.
    Raise the limit that the line names, or free what counts against it."""
    NO_CAPACITY = "no-capacity"
    """No host or storage of CloudStack has room, or fits.
    Free capacity; UEFI, affinity groups, host tags and the template's hypervisor narrow the choice."""
    NAME_UNKNOWN = "name-unknown"
    """A name or id in the configuration leads to none, or to several, of CloudStack's things.
    Set it to one of those that the second line lists."""
    GONE = "gone"
    """The thing that is named does not exist, or does not exist any more.
    Check the name or id: `migratekit volumes list`, `migratekit volumes operations`."""
    WRONG_STATE = "wrong-state"
    """The thing is at work just now, or not in the state that the call needs: asked again it may work.
    Wait until its other jobs have ended (its events in CloudStack), then run again."""
    VM_FULL = "vm-full"
    """A virtual machine takes no further disk.
    Detach what it does not need; a UEFI machine takes few disks while it runs."""
    VM_HAS_SNAPSHOTS = "vm-has-snapshots"
    """VM snapshots in CloudStack keep disks from being attached and detached.
    Delete the VM snapshots of that virtual machine in CloudStack."""
    VM_HAS_BACKUP_OFFERING = "vm-has-backup-offering"
    """A backup offering keeps disks from being attached and detached.
    Remove the machine from it, or set `backup.enable.attach.detach.of.volumes`."""
    NAME_TAKEN = "name-taken"
    """A virtual machine of this name exists in this network of CloudStack already.
    Rename that one, or expunge it: a destroyed one keeps its name."""
    ADDRESS_REFUSED = "address-refused"
    """A network does not give the IP or MAC address that was asked for.
    Free it (a machine keeps its own until [expunged](permissions.md#expunging)), or keep none: `failover.keep_ip`."""
    PAGE_TOO_LARGE = "page-too-large"
    """CloudStack answers fewer things at a time than it was asked for; MigrateKit asks again by itself.
    Nothing."""
    INTERRUPTED = "interrupted"
    """CloudStack was restarted in the middle of a job.
    Run the command again: what became of it is looked for first."""
    LOST = "lost"
    """Nobody knows what became of a job of CloudStack's: it may have been carried out.
    Run the command again: what became of it is looked for first."""
    HIDDEN = "hidden"
    """CloudStack refused and keeps the reason in its own log.
    Look for the call in /var/log/cloudstack/management/management-server.log."""

    # Failover

    PREFLIGHT_FAILED = "preflight-failed"
    """A machine cannot be rehearsed or cut over; every reason has a line.
    Mend each of them, then run the command again."""
    NETWORK_UNMAPPED = "network-unmapped"
    """A network of the source goes to none of CloudStack's.
    Map it: `migratekit networks`, [networks](networks.md)."""
    NOT_FAILED_OVER = "not-failed-over"
    """There is no failover of this machine to take back, or to tell anything.
    `migratekit jobs list` shows what was done with it."""
    DOWNTIME_TOO_LONG = "downtime-too-long"
    """The downtime will not fit into what is allowed.
    Allow more, quieten the guest, or give the copy more bandwidth: [when to cut over](failover.md#when-to-cut-over)."""
    REPLICA_INCOMPLETE = "replica-incomplete"
    """The replica lacks a disk, or a sync of one.
    `migratekit replicate VM`, then run the command again."""
    MACHINE_FAILED = "machine-failed"
    """CloudStack does not make or start the new machine, or it does not stop.
    Look at its events in CloudStack."""
    MACHINE_IN_WAY = "machine-in-way"
    """The new machine in CloudStack runs, or holds the volumes, and must not for what was asked.
    Stop it, or see who works on it; then run the command again."""
    BOOT_CHECK_FAILED = "boot-check-failed"
    """The new machine runs, and does not answer as a boot check wants.
    Look at its console in CloudStack."""
    CONVERSION_FAILED = "conversion-failed"
    """The guest was not converted.
    `migratekit jobs show` has all that virt-v2v said; or go on without: `--no-convert`."""
    CONVERSION_IMPOSSIBLE = "conversion-impossible"
    """The guest has to be converted, and this host cannot do it.
    Install what is missing, `libguestfs-test-tool` finds the rest; or go on without: `--no-convert`."""

    # Waves and the fleet

    WAVE_NOT_FOUND = "wave-not-found"
    """No wave of this name is stored.
    `migratekit wave list` shows all."""
    WAVE_VM_NOT_FOUND = "wave-vm-not-found"
    """A machine that is named is not in the wave.
    `migratekit wave show WAVE` lists its machines."""
    WAVE_INVALID = "wave-invalid"
    """Rules or a plan of waves contradict themselves, or do not fit the configuration.
    The second line says where; [waves](waves.md) describes the files."""
    WAVE_CHANGED = "wave-changed"
    """The wave is stored with other content.
    Add `--replace`, or give the changed wave another name."""
    WAVE_SHARED = "wave-shared"
    """A machine is in another wave already.
    Leave it out, or cancel it there."""
    WAVE_BUSY = "wave-busy"
    """The wave is being run, or cannot run beside another one.
    Wait for its end, or cancel it: `migratekit wave cancel WAVE`."""
    WAVE_NOT_READY = "wave-not-ready"
    """What was asked of the wave cannot be done now: it was cancelled, nothing waits, or a step is missing.
    `migratekit wave status WAVE` tells how far it is; `migratekit wave retry WAVE` goes on with a cancelled one."""
    NOTHING_TO_PLAN = "nothing-to-plan"
    """No machine is left to plan.
    The second line says why each was left out."""
    SCHEDULER_UNREACHABLE = "scheduler-unreachable"
    """The fleet's scheduler does not answer, or is gone.
    Start it (`systemctl start migratekit-fleet-scheduler`); check `fleet.scheduler`."""
    FLEET_VERSION = "fleet-version"
    """A worker of the fleet is of another version than the scheduler.
    Update it."""
