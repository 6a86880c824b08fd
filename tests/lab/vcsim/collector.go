package main

import (
	"fmt"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// standInForCollector answers Fetch, and sees to it that each session's collector gets its updates. vcsim gives every
// session its own collector but all of them the same reference, and files those who wait for updates by reference:
// of two sessions that wait at the same time, one would wait forever.
func (l *Lab) standInForCollector(ctx *simulator.Context, method *simulator.Method) mo.Reference {
	if method.Name == "Logout" {
		l.forgetSession(ctx.Session.Key)
		return nil
	}
	if ended, ok := method.Body.(*types.TerminateSession); ok {
		for _, key := range ended.SessionId {
			if key != ctx.Session.Key {
				l.forgetSession(key)
			}
		}
		return nil
	}
	if method.This != l.model.ServiceContent.PropertyCollector {
		return nil
	}
	own, ok := ctx.Session.Get(method.This).(*simulator.PropertyCollector)
	if !ok {
		return nil
	}
	l.mu.Lock()
	if own.Self == method.This {
		own.Self.Value = fmt.Sprintf("session[%s]%s", ctx.Session.Key, own.Self.Value)
	}
	l.mu.Unlock()
	if method.Name == "Fetch" {
		return &collector{own}
	}
	return nil
}
