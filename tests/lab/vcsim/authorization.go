package main

import (
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// authorization answers what the account may do; vcsim's own says yes to everything. Calls are not refused by it:
// faults do that.
type authorization struct {
	*simulator.AuthorizationManager
	lab *Lab
}

// HasPrivilegeOnEntities follows the denials, for the session that asks only.
func (a *authorization) HasPrivilegeOnEntities(ctx *simulator.Context, req *types.HasPrivilegeOnEntities) soap.HasFault {
	body := new(methods.HasPrivilegeOnEntitiesBody)
	if ctx.Session == nil || req.SessionId != ctx.Session.Key {
		body.Fault_ = invalidArgument("sessionId")
		return body
	}
	body.Res = new(types.HasPrivilegeOnEntitiesResponse)
	for _, entity := range req.Entity {
		if a.lab.registry().Get(entity) == nil {
			body.Res = nil
			body.Fault_ = simulator.Fault("", &types.ManagedObjectNotFound{Obj: entity})
			return body
		}
		answer := types.EntityPrivilege{Entity: entity}
		for _, id := range req.PrivId {
			answer.PrivAvailability = append(answer.PrivAvailability, types.PrivilegeAvailability{
				PrivId: id, IsGranted: a.lab.granted(entity, id),
			})
		}
		body.Res.Returnval = append(body.Res.Returnval, answer)
	}
	return body
}
