package main

import (
	"errors"
	"fmt"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"migratekit.invalid/lab/vcsim/blockdisk"
)

// QueryChangedDiskAreas is the call that vcsim does not have.
func (m *machine) QueryChangedDiskAreas(_ *simulator.Context, req *types.QueryChangedDiskAreas) soap.HasFault {
	body := new(methods.QueryChangedDiskAreasBody)
	info, fault := m.changedAreas(req)
	if fault != nil {
		body.Fault_ = fault
	} else {
		body.Res = &types.QueryChangedDiskAreasResponse{Returnval: *info}
	}
	return body
}

func (m *machine) changedAreas(req *types.QueryChangedDiskAreas) (*types.DiskChangeInfo, *soap.Fault) {
	if req.Snapshot == nil {
		return nil, invalidArgument("snapshot")
	}
	ref := types.ManagedObjectReference{Type: req.Snapshot.Type, Value: req.Snapshot.Value}
	m.vm.mu.RLock()
	defer m.vm.mu.RUnlock()
	cut, ok := m.vm.points[ref]
	if !ok {
		if m.lab.registry().Get(ref) != nil { // a snapshot of another machine
			return nil, invalidArgument("snapshot")
		}
		message := "The object 'vim.vm.Snapshot:" + ref.Value + "' has already been deleted or has not been completely created"
		return nil, simulator.Fault(message, &types.ManagedObjectNotFound{Obj: ref})
	}
	disk, point := m.vm.disk(req.DeviceKey), cut[req.DeviceKey]
	if disk == nil || point == nil {
		return nil, invalidArgument("deviceKey")
	}
	if req.StartOffset < 0 || req.StartOffset >= disk.Capacity() {
		return nil, invalidArgument("startOffset")
	}
	if req.ChangeId == "*" && point.ChangeID() != "" {
		switch m.lab.standing().Allocated {
		case "refused":
			file := vmfsPath(m.vm, point.Layer().Name)
			return nil, simulator.Fault("Error caused by file "+file, &types.FileFault{File: file})
		case "none":
			rest := disk.Capacity() - req.StartOffset
			return &types.DiskChangeInfo{StartOffset: req.StartOffset, Length: rest}, nil
		case "whole":
			rest := disk.Capacity() - req.StartOffset
			return &types.DiskChangeInfo{StartOffset: req.StartOffset, Length: rest, ChangedArea: []types.DiskChangeExtent{
				{Start: req.StartOffset, Length: rest},
			}}, nil
		}
	}
	set, err := disk.Changed(point, req.ChangeId)
	if errors.Is(err, blockdisk.ErrMalformed) {
		return nil, invalidArgument("changeId")
	}
	if err != nil {
		file := vmfsPath(m.vm, point.Layer().Name)
		return nil, simulator.Fault(fmt.Sprintf("Error caused by file %s", file), &types.FileFault{File: file})
	}
	areas, length := blockdisk.Page(set, req.StartOffset, disk.Capacity(), blockdisk.MaxAreas)
	info := &types.DiskChangeInfo{StartOffset: req.StartOffset, Length: length}
	for _, a := range areas {
		info.ChangedArea = append(info.ChangedArea, types.DiskChangeExtent{Start: a.Start, Length: a.Length})
	}
	return info, nil
}

func invalidArgument(property string) *soap.Fault {
	return simulator.Fault("A specified parameter was not correct: "+property, &types.InvalidArgument{InvalidProperty: property})
}
