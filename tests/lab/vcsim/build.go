package main

import (
	"context"
	"fmt"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"
)

// build makes the datacenter and the machines of the inventory. Machines are made through the API, in process, as a
// client would; only then does the lab begin to listen in.
func (l *Lab) build(inv *Inventory) error {
	model := l.modelOf(inv)
	if err := model.Create(); err != nil {
		return err
	}
	l.model = model

	ctx := context.Background()
	client, err := vim25.NewClient(ctx, model.Service)
	if err != nil {
		return err
	}
	finder := find.NewFinder(client, false)
	dc, err := finder.Datacenter(ctx, l.datacenter)
	if err != nil {
		return err
	}
	finder.SetDatacenter(dc)
	if err := l.buildDatastore(ctx, finder); err != nil {
		return err
	}
	if inv.needsVSAN() {
		if err := l.buildVSAN(ctx, finder); err != nil {
			return err
		}
	}
	l.registry().Handler = l.handle
	l.registry().AddHandler(&watcher{lab: l})
	for i := range inv.VMs {
		if err := l.buildVM(ctx, client, finder, inv.VMs[i]); err != nil {
			return fmt.Errorf("virtual machine %s: %w", inv.VMs[i].Name, err)
		}
	}
	if err := l.buildFleet(ctx, client, finder, inv.Fleet); err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	if store := l.datastore(); store != nil {
		l.asBuilt = spaceReport{Free: store.Summary.FreeSpace, Capacity: store.Summary.Capacity}
		l.space.free, l.space.capacity = l.asBuilt.Free, l.asBuilt.Capacity
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.calls) // what it took to build is nobody's business
	return nil
}

// modelOf is vcsim's vCenter or ESXi host, without machines and without a datastore: the datastore's files shall live
// where we are told, and machines are ours.
func (l *Lab) modelOf(inv *Inventory) *simulator.Model {
	if inv.Kind == "host" {
		l.datacenter = "ha-datacenter"
		model := simulator.ESX()
		model.Datastore, model.Machine = 0, 0
		return model
	}
	l.datacenter = "DC0"
	model := simulator.VPX()
	model.Host, model.Cluster, model.ClusterHost = 0, 1, inv.Hosts
	model.Datastore, model.Machine = 0, 0
	model.Portgroup, model.OpaqueNetwork = *inv.Portgroups, inv.OpaqueNetworks
	return model
}

func (l *Lab) buildDatastore(ctx context.Context, finder *find.Finder) error {
	ref, err := l.mount(ctx, finder, &store{name: datastoreName, dir: l.store})
	if err != nil {
		return err
	}
	return l.makeVMFS(ref)
}

// makeVMFS turns vcsim's datastore of type OTHER into a local VMFS volume. The URL stays vcsim's, a local path: vcsim
// finds its files by it.
func (l *Lab) makeVMFS(ref types.ManagedObjectReference) error {
	store, ok := l.registry().Get(ref).(*simulator.Datastore)
	if !ok {
		return fmt.Errorf("no datastore %s", ref)
	}
	yes := true
	info := *store.Info.GetDatastoreInfo()
	ctx := l.model.Service.Context
	ctx.WithLock(store, func() {
		ctx.Update(store, []types.PropertyChange{
			{Name: "summary.type", Val: string(types.HostFileSystemVolumeFileSystemTypeVMFS)},
			{Name: "summary.multipleHostAccess", Val: yes},
			{Name: "info", Val: &types.VmfsDatastoreInfo{
				DatastoreInfo: info,
				Vmfs: &types.HostVmfsVolume{
					HostFileSystemVolume: types.HostFileSystemVolume{
						Type: string(types.HostFileSystemVolumeFileSystemTypeVMFS), Name: datastoreName, Capacity: store.Summary.Capacity,
					},
					BlockSizeMb: 1, MajorVersion: 6, Version: "6.82", Uuid: volumeUUID, Local: &yes,
				},
			}},
		})
	})
	return nil
}

const volumeUUID = "65a1f0c2-5b7d9e10-4c2f-005056000001"

// placeVM finds or makes the folder path below vm/.
func (l *Lab) placeVM(ctx context.Context, finder *find.Finder, path string) (*object.Folder, error) {
	folders, err := finder.DefaultDatacenter(ctx)
	if err != nil {
		return nil, err
	}
	all, err := folders.Folders(ctx)
	if err != nil {
		return nil, err
	}
	folder := all.VmFolder
	for _, name := range splitPath(path) {
		next, err := l.childFolder(ctx, folder, name)
		if err != nil {
			return nil, err
		}
		folder = next
	}
	return folder, nil
}

func (l *Lab) childFolder(ctx context.Context, parent *object.Folder, name string) (*object.Folder, error) {
	children, err := parent.Children(ctx)
	if err != nil {
		return nil, err
	}
	for _, child := range children {
		if folder, ok := child.(*object.Folder); ok {
			if found, err := folder.ObjectName(ctx); err == nil && found == name {
				return folder, nil
			}
		}
	}
	return l.makeFolder(ctx, parent, name)
}

// makeFolder makes a folder with a name as the API has it. vcsim would escape it once more.
func (l *Lab) makeFolder(ctx context.Context, parent *object.Folder, name string) (*object.Folder, error) {
	folder, err := parent.CreateFolder(ctx, fileNames.Replace(name))
	if err != nil || fileNames.Replace(name) == name {
		return folder, err
	}
	if sim, ok := l.registry().Get(folder.Reference()).(*simulator.Folder); ok {
		own := l.model.Service.Context
		own.WithLock(sim, func() { own.Update(sim, []types.PropertyChange{{Name: "name", Val: name}}) })
	}
	return folder, nil
}
