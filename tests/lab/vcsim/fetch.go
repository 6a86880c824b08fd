package main

import (
	"reflect"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// collector stands in for the property collector in one call: Fetch, with which pyvmomi reads a single property. For a
// property that is not set vcsim answers something that pyvmomi cannot read; vSphere answers nothing, which is None.
type collector struct{ *simulator.PropertyCollector }

// FetchResponse has the name and the shape that go over the wire.
type FetchResponse struct {
	Returnval types.AnyType `xml:"returnval,omitempty,typeattr"`
}

type fetchBody struct {
	Res    *FetchResponse `xml:"FetchResponse,omitempty"`
	Fault_ *soap.Fault    `xml:"http://schemas.xmlsoap.org/soap/envelope/ Fault,omitempty"` //nolint:revive // vcsim's name
}

// Fault makes it an answer.
func (b *fetchBody) Fault() *soap.Fault { return b.Fault_ }

// Fetch takes any request, for the type of the real one is internal to vcsim.
func (c *collector) Fetch(ctx *simulator.Context, req any) soap.HasFault {
	args := []reflect.Value{reflect.ValueOf(ctx), reflect.ValueOf(req)}
	answer, _ := reflect.ValueOf(c.PropertyCollector).MethodByName("Fetch").Call(args)[0].Interface().(soap.HasFault)
	if _, unset := answer.(*methods.RetrievePropertiesExBody); unset && answer.Fault() == nil {
		return &fetchBody{Res: new(FetchResponse)}
	}
	return answer
}
