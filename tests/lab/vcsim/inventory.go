package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Inventory is the file that says which virtual machines exist.
type Inventory struct {
	Kind  string `json:"kind"`  // "vcenter", or "host": a single ESXi host
	Fleet int    `json:"fleet"` // so many machines more, to be listed and no more
	// Portgroups and OpaqueNetworks say how many networks of each kind there are besides "VM Network".
	Portgroups     *int     `json:"portgroups"` // DC0_DVPG0 …; 1 if left out
	OpaqueNetworks int      `json:"opaque_networks"`
	Hosts          int      `json:"hosts"` // of the cluster of a vCenter; if left out 2, or 3 with vSAN
	VMs            []VMSpec `json:"vms"`
}

// VMSpec describes one virtual machine.
type VMSpec struct {
	Name            string     `json:"name"`
	Folder          string     `json:"folder"`
	CPUs            int32      `json:"cpus"`
	MemoryMB        int64      `json:"memory_mb"`
	Firmware        string     `json:"firmware"`
	GuestID         string     `json:"guest_id"`
	HardwareVersion string     `json:"hardware_version"`
	Power           string     `json:"power"`
	CBT             bool       `json:"cbt"`
	Tools           string     `json:"tools"`
	Shutdown        string     `json:"shutdown"` // "ignored": the guest takes a shutdown request and goes on
	Host            *int       `json:"host"`     // the number of its host in the cluster; any if left out
	Disks           []DiskSpec `json:"disks"`
	NICs            []NICSpec  `json:"nics"`
	Datastore       string     `json:"datastore"`
	// Snapshots are taken one after the other, before anybody looks.
	Snapshots []SnapshotSpec `json:"snapshots"`
}

// SnapshotSpec is a snapshot that a machine has from the beginning, and what its guest wrote after it.
type SnapshotSpec struct {
	Name   string      `json:"name"`
	Writes []WriteSpec `json:"writes"`
}

// WriteSpec is a stretch of random data, the same in every run.
type WriteSpec struct {
	Disk   int   `json:"disk"`
	Offset int64 `json:"offset"`
	Length int64 `json:"length"`
}

// DiskSpec describes one disk.
type DiskSpec struct {
	Label        string `json:"label"`
	SizeBytes    int64  `json:"size_bytes"`
	Provisioning string `json:"provisioning"`
	Image        string `json:"image"`
}

// NICSpec describes one network card.
type NICSpec struct {
	Network string `json:"network"`
	MAC     string `json:"mac"`
	Type    string `json:"type"`
	IP      string `json:"ip"`
	// VLANs are the addresses of interfaces that the guest has on top of this card. Tools report each as a card with the
	// same device.
	VLANs []string `json:"vlans"`
}

func loadInventory(file string) (*Inventory, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	dec := json.NewDecoder(f)
	dec.DisallowUnknownFields() // a misspelled key would otherwise silently test something else
	inv := new(Inventory)
	if err := dec.Decode(inv); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := inv.complete(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return inv, nil
}

// complete fills in the defaults and refuses what cannot be meant.
func (inv *Inventory) complete() error {
	if err := oneOf("kind", &inv.Kind, []string{"vcenter", "host"}); err != nil {
		return err
	}
	if inv.Portgroups == nil {
		one := 1
		inv.Portgroups = &one
	}
	for i := range inv.VMs {
		if err := inv.VMs[i].complete(); err != nil {
			return fmt.Errorf("vms[%d]: %w", i, err)
		}
	}
	if inv.Hosts == 0 {
		inv.Hosts = 2
		if inv.needsVSAN() {
			inv.Hosts = 3 // with less, vSAN takes no object
		}
	}
	for i := range inv.VMs {
		if host := inv.VMs[i].Host; host != nil && (*host < 0 || *host >= inv.Hosts || inv.Kind == "host") {
			return fmt.Errorf("vms[%d]: host %d of %d", i, *host, inv.Hosts)
		}
	}
	return nil
}

func (inv *Inventory) needsVSAN() bool {
	return slices.ContainsFunc(inv.VMs, func(vm VMSpec) bool { return vm.Datastore == vsanName })
}

// complete fills in the defaults and refuses what cannot be meant.
func (v *VMSpec) complete() error {
	if v.Name == "" {
		return fmt.Errorf("a name is missing")
	}
	v.CPUs, v.MemoryMB = max(v.CPUs, 1), max(v.MemoryMB, 4)
	checks := []struct {
		what    string
		value   *string
		allowed []string // the first one is the default
	}{
		{"firmware", &v.Firmware, []string{"bios", "efi"}},
		{"power", &v.Power, []string{"off", "on"}},
		{"tools", &v.Tools, []string{"notRunning", "running"}},
		{"datastore", &v.Datastore, []string{datastoreName, vsanName}},
		{"shutdown", &v.Shutdown, []string{"obeyed", "ignored"}},
	}
	for _, c := range checks {
		if err := oneOf(c.what, c.value, c.allowed); err != nil {
			return err
		}
	}
	setDefault(&v.GuestID, "otherGuest64")
	setDefault(&v.HardwareVersion, "vmx-19")
	for i := range v.Disks {
		d := &v.Disks[i]
		if d.SizeBytes <= 0 || d.SizeBytes%512 != 0 {
			return fmt.Errorf("disks[%d]: size_bytes %d is not a positive multiple of 512", i, d.SizeBytes)
		}
		if err := oneOf("provisioning", &d.Provisioning, []string{"thin", "thick", "eager"}); err != nil {
			return fmt.Errorf("disks[%d]: %w", i, err)
		}
	}
	for i, snapshot := range v.Snapshots {
		if snapshot.Name == "" {
			return fmt.Errorf("snapshots[%d]: a name is missing", i)
		}
		for _, w := range snapshot.Writes {
			if w.Disk < 0 || w.Disk >= len(v.Disks) || w.Offset < 0 || w.Length < 1 || w.Offset+w.Length > v.Disks[w.Disk].SizeBytes {
				return fmt.Errorf("snapshots[%d]: a write beside the disk", i)
			}
		}
	}
	for i := range v.NICs {
		if err := oneOf("type", &v.NICs[i].Type, []string{"vmxnet3", "e1000e", "e1000"}); err != nil {
			return fmt.Errorf("nics[%d]: %w", i, err)
		}
		setDefault(&v.NICs[i].Network, "VM Network")
	}
	return nil
}

func setDefault(value *string, to string) {
	if *value == "" {
		*value = to
	}
}

func oneOf(what string, value *string, allowed []string) error {
	setDefault(value, allowed[0])
	for _, a := range allowed {
		if *value == a {
			return nil
		}
	}
	return fmt.Errorf("%s %q: must be one of %s", what, *value, strings.Join(allowed, ", "))
}
