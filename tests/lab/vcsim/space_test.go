package main

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

func TestDatastoreFillsUp(t *testing.T) {
	const block = 64 << 10
	s := start(t, running("web01", 1<<20), running("other", 1<<20))
	c := s.login()
	ctx := context.Background()
	vm := s.vm(c, "web01")
	store, err := find.NewFinder(c.Client).Datastore(ctx, "/DC0/datastore/"+datastoreName)
	must(t, err)
	free := func(refresh bool) int64 {
		t.Helper()
		if refresh {
			_, err := methods.RefreshDatastoreStorageInfo(ctx, c.Client, &types.RefreshDatastoreStorageInfo{This: store.Reference()})
			must(t, err)
		}
		var found mo.Datastore
		must(t, store.Properties(ctx, store.Reference(), []string{"summary", "info"}, &found))
		if found.Info.GetDatastoreInfo().FreeSpace != found.Summary.FreeSpace {
			t.Fatal("two opinions")
		}
		return found.Summary.FreeSpace
	}
	write := func(offset int, status int) {
		t.Helper()
		s.ask("PUT", "/lab/vms/web01/disks/0?offset="+itoa(offset), bytes.Repeat([]byte("x"), block), status)
	}
	before := free(false)
	s.ask("PUT", "/lab/datastore", rule{"free_bytes": 3 * block, "capacity_bytes": 100 * block}, http.StatusOK)
	write(0, http.StatusOK) // no snapshot: the base has its space already
	if got := free(true); got != 3*block {
		t.Fatal(got)
	}
	snapshot := s.snapshot(vm, "one")
	write(0, http.StatusOK)
	write(0, http.StatusOK) // the same block again
	write(2*block, http.StatusOK)
	if stale, fresh := free(false), free(true); stale != 3*block || fresh != block {
		t.Fatal(stale, fresh)
	}
	_, err = methods.RefreshStorageInfo(ctx, c.Client, &types.RefreshStorageInfo{This: vm.Reference()})
	must(t, err)
	layout := s.properties(vm).LayoutEx
	sizes := map[string]int64{}
	for _, file := range layout.File {
		sizes[file.Name] = file.Size
	}
	if sizes["[LocalDS_0] web01/disk1-000001-delta.vmdk"] != 2*block || len(layout.Disk[0].Chain) != 2 || len(layout.Snapshot[0].Disk[0].Chain) != 1 {
		t.Fatalf("%v %+v", sizes, layout)
	}

	write(4*block, http.StatusOK)
	write(6*block, http.StatusConflict)
	s.until("a question", func() bool { return s.properties(vm).Runtime.Question != nil })
	asked := s.properties(vm).Runtime
	if asked.PowerState != types.VirtualMachinePowerStatePoweredOn || !strings.Contains(asked.Question.Text, "disk1-000001.vmdk") {
		t.Fatalf("%+v", asked)
	}
	write(0, http.StatusConflict) // it has stopped
	mustFail[types.QuestionPending](t, s.wait(vm.RemoveAllSnapshot(ctx, nil)))
	mustFail[types.QuestionPending](t, vm.ShutdownGuest(ctx))
	s.ask("PUT", "/lab/vms/other/disks/0?offset=0", []byte("x"), http.StatusOK)

	must(t, vm.Answer(ctx, asked.Question.Id, "0")) // nothing has changed
	s.until("it again", func() bool {
		q := s.properties(vm).Runtime.Question
		return q != nil && q.Id != asked.Question.Id
	})
	s.ask("PUT", "/lab/datastore", rule{"free_bytes": 5 * block, "capacity_bytes": 100 * block}, http.StatusOK)
	must(t, vm.Answer(ctx, s.properties(vm).Runtime.Question.Id, "0"))
	s.until("no question", func() bool { return s.properties(vm).Runtime.Question == nil })
	write(6*block, http.StatusOK)
	must(t, s.wait(vm.RemoveAllSnapshot(ctx, nil)))
	if got := free(true); got != 8*block { // the delta has given back what it took
		t.Fatal(got)
	}
	_ = snapshot

	s.snapshot(vm, "two")
	s.ask("PUT", "/lab/datastore", rule{"free_bytes": 0, "capacity_bytes": 100 * block}, http.StatusOK)
	write(0, http.StatusConflict)
	s.until("a question", func() bool { return s.properties(vm).Runtime.Question != nil })
	must(t, vm.Answer(ctx, s.properties(vm).Runtime.Question.Id, "1"))
	s.until("off", func() bool { return s.properties(vm).Runtime.PowerState == types.VirtualMachinePowerStatePoweredOff })
	s.ask("PUT", "/lab/datastore", rule{"free_bytes": 2, "capacity_bytes": 1}, http.StatusBadRequest)
	s.ask("DELETE", "/lab/datastore", nil, http.StatusOK)
	if got := free(false); got != before {
		t.Fatal(got, before)
	}
}
