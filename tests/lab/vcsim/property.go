package main

import (
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// labProperties sets properties of any managed object, in the form that the vSphere API has in JSON (_typeName and
// all): the states that no call of the API brings about, such as a disk in need of consolidation.
func (s *server) labProperties(w http.ResponseWriter, r *http.Request) (any, error) {
	ref := types.ManagedObjectReference{Type: r.PathValue("type"), Value: r.PathValue("id")}
	obj := s.lab.registry().Get(ref)
	if obj == nil {
		return nil, fail(http.StatusNotFound, "no %s", ref)
	}
	var given map[string]jsonText
	if err := types.NewJSONDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&given); err != nil {
		return nil, fail(http.StatusBadRequest, "%v", err)
	}
	ctx := s.lab.freshContext()
	for _, path := range slices.Sorted(maps.Keys(given)) {
		// One by one: each device is added to the list with those before it.
		if err := setProperty(ctx, obj, path, string(given[path])); err != nil {
			return nil, fail(http.StatusBadRequest, "%s: %v", path, err)
		}
	}
	return map[string]int{"changed": len(given)}, nil
}

func setProperty(ctx *simulator.Context, obj mo.Reference, path, text string) error {
	value, err := any(nil), error(nil)
	if key, isDevice := deviceKey(path); isDevice {
		path = devicesPath
		value, err = withDevice(obj, key, text)
	} else {
		value, err = decodeAs(obj, path, text)
	}
	if err != nil {
		return err
	}
	ctx.WithLock(obj, func() { ctx.Update(obj, []types.PropertyChange{{Name: path, Val: value}}) })
	return nil
}

// jsonText is JSON that is decoded later.
type jsonText []byte

// UnmarshalJSON keeps the text.
func (t *jsonText) UnmarshalJSON(data []byte) error {
	*t = append((*t)[:0], data...)
	return nil
}

// decodeAs decodes a value into the type that the property has.
func decodeAs(obj mo.Reference, path, text string) (any, error) {
	kind := reflect.TypeOf(obj)
	for _, name := range strings.Split(path, ".") {
		for kind.Kind() == reflect.Pointer {
			kind = kind.Elem()
		}
		if kind.Kind() != reflect.Struct || name == "" {
			return nil, fmt.Errorf("no property %q", name)
		}
		field, ok := kind.FieldByName(strings.ToUpper(name[:1]) + name[1:])
		if !ok {
			return nil, fmt.Errorf("no property %q", name)
		}
		kind = field.Type
	}
	value := reflect.New(kind)
	if err := types.NewJSONDecoder(strings.NewReader(text)).Decode(value.Interface()); err != nil {
		return nil, err
	}
	return value.Elem().Interface(), nil
}

const devicesPath = "config.hardware.device"

// deviceKey reads `config.hardware.device[2000]`.
func deviceKey(path string) (int32, bool) {
	text, found := strings.CutPrefix(path, devicesPath+"[")
	key, err := strconv.ParseInt(strings.TrimSuffix(text, "]"), 10, 32)
	return int32(key), found && err == nil
}

// withDevice is a machine's list of devices with one of them replaced, or added.
func withDevice(obj mo.Reference, key int32, text string) (any, error) {
	vm, ok := obj.(*simulator.VirtualMachine)
	if !ok {
		return nil, fmt.Errorf("%s has no devices", obj.Reference())
	}
	var device types.BaseVirtualDevice
	if err := types.NewJSONDecoder(strings.NewReader(text)).Decode(&device); err != nil {
		return nil, err
	}
	device.GetVirtualDevice().Key = key
	var devices []types.BaseVirtualDevice
	for _, old := range vm.Config.Hardware.Device {
		if old.GetVirtualDevice().Key != key {
			devices = append(devices, old)
		}
	}
	return append(devices, device), nil
}

// denial takes privileges from the account, everywhere or on one object.
type denial struct {
	Privileges []string `json:"privileges"`
	Object     string   `json:"object"` // managed object id; "*" or nothing means all
}

func (s *server) labDeny(w http.ResponseWriter, r *http.Request) (any, error) {
	var rule denial
	dec := types.NewJSONDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&rule); err != nil {
		return nil, fail(http.StatusBadRequest, "%v", err)
	}
	setDefault(&rule.Object, "*")
	s.lab.mu.Lock()
	defer s.lab.mu.Unlock()
	s.lab.denials = append(s.lab.denials, rule)
	return rule, nil
}

func (s *server) labAllow(http.ResponseWriter, *http.Request) (any, error) {
	s.lab.mu.Lock()
	defer s.lab.mu.Unlock()
	s.lab.denials = nil
	return map[string]any{}, nil
}

func (l *Lab) granted(entity types.ManagedObjectReference, privilege string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, rule := range l.denials {
		for _, denied := range rule.Privileges {
			if denied == privilege && (rule.Object == "*" || rule.Object == entity.Value) {
				return false
			}
		}
	}
	return true
}
