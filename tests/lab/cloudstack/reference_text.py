"""The text of the reference; `reference.py` reads it. Names and types are CloudStack's, descriptions are ours."""

ADMIN_ONLY = frozenset({"listHosts", "listStoragePools", "listHypervisorCapabilities"})

PAGING = """
page integer number of the page, from 1
pagesize integer entries per page, 500 at most
keyword string part of the name
"""

COMMANDS = """
listApis sync user.discovery.ListApisCmd Commands this account may call, with their parameters.
name string name of one command

listCapabilities sync user.config.ListCapabilitiesCmd Version and switches of this cloud.

queryAsyncJobResult sync user.job.QueryAsyncJobResultCmd State and result of an asynchronous job.
jobid! uuid:job the job

listAsyncJobs list user.job.ListAsyncJobsCmd Pending asynchronous jobs of the account.
startdate tzdate only jobs created since then
listall boolean of all accounts the caller may see
account string of this account
domainid uuid:domain with account

listZones list user.zone.ListZonesCmd Zones.
id uuid:zone the zone
name string its name
available boolean only zones one can deploy in
domainid uuid:domain zones of this domain

listServiceOfferings list user.offering.ListServiceOfferingsCmd Compute offerings.
id uuid:serviceoffering the offering
name string its name
zoneid uuid:zone offered in this zone

listDiskOfferings list user.offering.ListDiskOfferingsCmd Disk offerings.
id uuid:diskoffering the offering
name string its name
zoneid uuid:zone offered in this zone

listNetworks list user.network.ListNetworksCmd Guest networks.
id uuid:network the network
zoneid uuid:zone in this zone
type string Isolated or Shared
traffictype string Guest
canusefordeploy boolean only networks one can deploy into
listall boolean of all accounts the caller may see
account string of this account
domainid uuid:domain with account

listTemplates list user.template.ListTemplatesCmd Templates.
templatefilter! string featured, self, selfexecutable, sharedexecutable, executable, community or all
id uuid:template the template
name string its name
zoneid uuid:zone in this zone
hypervisor string for this hypervisor

listOsTypes list user.guest.ListGuestOsCmd Guest operating systems one can name.
id uuid:ostype the entry
oscategoryid string of this category
description string its name

listVirtualMachines list user.vm.ListVMsCmd Virtual machines.
id uuid:virtualmachine the machine
ids list:virtualmachine several machines
name string part of the name
displayname string part of the display name
state string in this state
zoneid uuid:zone in this zone
networkid uuid:network with a NIC in this network
templateid uuid:template made from this template
tags map with one of these tags
listall boolean of all accounts the caller may see
account string of this account
domainid uuid:domain with account
details list how much to answer

listVolumes list user.volume.ListVolumesCmd Volumes.
id uuid:volume the volume
ids list:volume several volumes
name string its name
virtualmachineid uuid:virtualmachine attached to this machine
zoneid uuid:zone in this zone
type string ROOT or DATADISK
state string in this state
diskofferingid uuid:diskoffering of this offering
storageid uuid:storagepool on this primary storage
tags map with one of these tags
listall boolean of all accounts the caller may see
account string of this account
domainid uuid:domain with account

listSnapshots list user.snapshot.ListSnapshotsCmd Volume snapshots.
id uuid:snapshot the snapshot
ids list:snapshot several snapshots
name string its name
volumeid uuid:volume of this volume
zoneid uuid:zone in this zone
tags map with one of these tags
listall boolean of all accounts the caller may see
account string of this account
domainid uuid:domain with account

listTags list user.tag.ListTagsCmd Tags.
resourceid string on this resource
resourcetype string on this type of resource
key string with this key
value string with this value
listall boolean of all accounts the caller may see
account string of this account
domainid uuid:domain with account

listNics list user.nic.ListNicsCmd NICs of a virtual machine.
virtualmachineid! uuid:virtualmachine the machine
nicid uuid:nic this one NIC
networkid uuid:network in this network

listHosts list admin.host.ListHostsCmd Hosts.
id uuid:host the host
name string its name
type string its type
zoneid uuid:zone in this zone
hypervisor string of this hypervisor

listStoragePools list admin.storage.ListStoragePoolsCmd Primary storage.
id uuid:storagepool the pool
name string its name
zoneid uuid:zone in this zone

listHypervisorCapabilities list admin.hypervisor.ListHypervisorCapabilitiesCmd What each hypervisor can do.
id uuid:hypervisorcapability one entry
hypervisor string of this hypervisor

listDomains list admin.domain.ListDomainsCmd Domains.
id uuid:domain the domain
name string its name
listall boolean all the caller may see

listAccounts list user.account.ListAccountsCmd Accounts.
id uuid:account the account
name string its name
domainid uuid:domain of this domain
listall boolean all the caller may see

listResourceLimits list user.resource.ListResourceLimitsCmd Limits of an account.
resourcetype integer 0 machines, 2 volumes, 3 snapshots, 8 CPUs, 9 memory in MiB, 10 primary storage in GiB
account string of this account
domainid uuid:domain with account
listall boolean of all accounts the caller may see

createVolume create user.volume.CreateVolumeCmd Makes a volume from a disk offering or a snapshot.
name string its name
diskofferingid uuid:diskoffering the offering
size long size in GiB, for a custom offering
snapshotid uuid:snapshot copy this snapshot
zoneid uuid:zone in this zone
virtualmachineid uuid:virtualmachine with snapshotid: attach it to this machine
account string for this account
domainid uuid:domain with account

attachVolume async user.volume.AttachVolumeCmd Attaches a volume to a virtual machine.
id! uuid:volume the volume
virtualmachineid! uuid:virtualmachine the machine
deviceid long 0 makes it the root disk, 3 is the CD-ROM's; the first free one if not given

detachVolume async user.volume.DetachVolumeCmd Detaches a volume.
id uuid:volume the volume
deviceid long with virtualmachineid, instead of id
virtualmachineid uuid:virtualmachine with deviceid, instead of id

deleteVolume sync user.volume.DeleteVolumeCmd Deletes a detached volume.
id! uuid:volume the volume

resizeVolume async user.volume.ResizeVolumeCmd Changes the size of a volume.
id! uuid:volume the volume
size long new size in GiB
shrinkok boolean needed to make it smaller
diskofferingid uuid:diskoffering new offering

createSnapshot create user.snapshot.CreateSnapshotCmd Takes a snapshot of a volume.
volumeid! uuid:volume the volume
name string its name
quiescevm boolean quiesce the machine
asyncbackup boolean finish the job before the backup
tags map tags of the new snapshot

deleteSnapshot async user.snapshot.DeleteSnapshotCmd Deletes a snapshot.
id! uuid:snapshot the snapshot

deployVirtualMachine create user.vm.DeployVMCmd Makes a virtual machine and starts it.
zoneid! uuid:zone the zone
serviceofferingid! uuid:serviceoffering the compute offering
templateid uuid:template the template of its root disk
volumeid uuid:volume an existing volume as its root disk (since 4.21)
snapshotid uuid:snapshot a snapshot as its root disk (since 4.21)
name string host name
displayname string name for people
networkids list:network networks of its NICs, the first is the default one
iptonetworklist map networkid, ip and mac per NIC; instead of networkids
ipaddress string address in the default network
macaddress string hardware address of the default NIC
startvm boolean start it (default) or leave it stopped
details map cpuNumber, memory and other settings
rootdisksize long size of a template's root disk in GiB (since 4.4)
diskofferingid uuid:diskoffering one data volume of this offering
size long its size in GiB, for a custom offering
keyboard string keyboard layout
boottype string UEFI or BIOS (since 4.14.0.0)
bootmode string Legacy or Secure (since 4.14.0.0)
hypervisor string KVM
account string for this account
domainid uuid:domain with account
group string group
hostid uuid:host on this host

startVirtualMachine async user.vm.StartVMCmd Starts a virtual machine.
id! uuid:virtualmachine the machine
hostid uuid:host on this host

stopVirtualMachine async user.vm.StopVMCmd Stops a virtual machine.
id! uuid:virtualmachine the machine
forced boolean pull the plug

destroyVirtualMachine async user.vm.DestroyVMCmd Destroys a virtual machine.
id! uuid:virtualmachine the machine
expunge boolean at once and for ever (since 4.2.1)
volumeids list:volume data volumes to delete with it (since 4.12.0)

expungeVirtualMachine async admin.vm.ExpungeVMCmd Expunges a destroyed virtual machine.
id! uuid:virtualmachine the machine

updateVirtualMachine sync user.vm.UpdateVMCmd Changes settings of a virtual machine.
id! uuid:virtualmachine the machine
displayname string name for people
name string host name; the machine must be stopped
ostypeid uuid:ostype guest operating system
details map settings

createTags async user.tag.CreateTagsCmd Puts tags on resources.
resourceids! list the resources
resourcetype! string their type, such as UserVm, Volume or Snapshot
tags! map key and value of each tag

deleteTags async user.tag.DeleteTagsCmd Takes tags off resources.
resourceids! list the resources
resourcetype! string their type
tags map which; all of them if not given
"""
