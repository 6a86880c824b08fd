package main

import (
	"slices"
	"strings"
)

// vmReport is the answer to GET /lab/vms/{name}.
type vmReport struct {
	ID        string           `json:"id"`
	Name      string           `json:"name"`
	Folder    string           `json:"folder"`
	Datastore string           `json:"datastore"`
	Dir       string           `json:"dir"` // of the files, below the datastore
	Power     string           `json:"power"`
	CBT       bool             `json:"cbt"`
	Pending   bool             `json:"cbt_pending"`
	Disks     []diskReport     `json:"disks"`
	Snapshots []snapshotReport `json:"snapshots"`
}

type diskReport struct {
	Key      int32         `json:"key"`
	Capacity int64         `json:"capacity_bytes"`
	Backing  string        `json:"backing"`
	Tracking bool          `json:"tracking"`
	Epoch    *string       `json:"epoch"`
	Seq      int64         `json:"seq"`
	ChangeID *string       `json:"change_id"`
	Layers   []layerReport `json:"layers"`
}

type layerReport struct {
	Name   string  `json:"name"`
	Parent *string `json:"parent"`
	Live   bool    `json:"live"`
}

type snapshotReport struct {
	ID    string               `json:"id"`
	Disks []snapshotDiskReport `json:"disks"`
}

type snapshotDiskReport struct {
	Key      int32   `json:"key"`
	Backing  string  `json:"backing"`
	ChangeID *string `json:"change_id"`
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (vm *vmState) report() vmReport {
	vm.mu.RLock()
	defer vm.mu.RUnlock()
	r := vmReport{
		ID: vm.ref.Value, Name: vm.name, Folder: vm.spec.Folder, Datastore: vm.store.name, Dir: vm.dir, Power: "off", CBT: vm.cbt, Pending: vm.pending,
		Disks: []diskReport{}, Snapshots: []snapshotReport{},
	}
	if vm.poweredOn {
		r.Power = "on"
	}
	for _, d := range vm.disks {
		r.Disks = append(r.Disks, vm.reportDisk(d))
	}
	for ref, cut := range vm.points {
		s := snapshotReport{ID: ref.Value, Disks: []snapshotDiskReport{}}
		for _, d := range vm.disks {
			if p := cut[d.key]; p != nil {
				s.Disks = append(s.Disks, snapshotDiskReport{d.key, datastorePath(vm, p.Layer().Name), orNull(p.ChangeID())})
			}
		}
		r.Snapshots = append(r.Snapshots, s)
	}
	slices.SortFunc(r.Snapshots, func(a, b snapshotReport) int { return strings.Compare(a.ID, b.ID) })
	return r
}

func (vm *vmState) reportDisk(d *vmDisk) diskReport {
	r := diskReport{Key: d.key, Capacity: d.Capacity(), Backing: datastorePath(vm, d.Live().Name), ChangeID: orNull(d.ChangeID())}
	if log := d.Log(); log != nil {
		r.Tracking, r.Epoch, r.Seq = true, &log.UUID, log.Number()
	}
	for _, l := range d.Layers() {
		layer := layerReport{Name: l.Name, Live: l == d.Live()}
		if l.Parent() != nil {
			layer.Parent = &l.Parent().Name
		}
		r.Layers = append(r.Layers, layer)
	}
	return r
}
