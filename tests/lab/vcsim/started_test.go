package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// started is a lab that listens, for one test.
type started struct {
	t    *testing.T
	lab  *Lab
	url  *url.URL
	http *http.Client
}

// start starts a lab with these machines, all of them on, with tools and change tracking unless the test says else.
func start(t *testing.T, vms ...VMSpec) *started {
	t.Helper()
	return startInventory(t, &Inventory{Kind: "vcenter", VMs: vms})
}

func startInventory(t *testing.T, inv *Inventory) *started {
	t.Helper()
	must(t, inv.complete())
	lab, err := newLab(inv, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cert, key := newCertificate(t, "first")
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	must(t, lab.startNFC("127.0.0.1"))
	server := newServer(lab, account{"user", "password"}, listener.Addr().String(), pair)
	go func() { _ = server.http.ServeTLS(listener, "", "") }()
	t.Cleanup(func() {
		_ = server.http.Close()
		lab.close()
	})
	u := &url.URL{Scheme: "https", Host: listener.Addr().String(), Path: "/sdk", User: url.UserPassword("user", "password")}
	plain := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	return &started{t, lab, u, plain}
}

func running(name string, size int64) VMSpec {
	return VMSpec{Name: name, Power: "on", Tools: "running", CBT: true, Disks: []DiskSpec{{SizeBytes: size, Provisioning: "thin"}}}
}

// newCertificate writes one for 127.0.0.1 that signs itself.
func newCertificate(t *testing.T, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// client logs in; it gives up on an answer after so long.
func (s *started) client(patience time.Duration) (*govmomi.Client, error) {
	c, err := govmomi.NewClient(context.Background(), s.url, true)
	if err == nil {
		c.Timeout = patience
	}
	return c, err
}

func (s *started) login() *govmomi.Client {
	s.t.Helper()
	c, err := s.client(20 * time.Second)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *started) vm(c *govmomi.Client, name string) *object.VirtualMachine {
	s.t.Helper()
	vm, err := find.NewFinder(c.Client).VirtualMachine(context.Background(), "/DC0/vm/"+name)
	if err != nil {
		s.t.Fatal(err)
	}
	return vm
}

// properties reads a machine as it is now.
func (s *started) properties(vm *object.VirtualMachine) mo.VirtualMachine {
	s.t.Helper()
	var found mo.VirtualMachine
	if err := vm.Properties(context.Background(), vm.Reference(), nil, &found); err != nil {
		s.t.Fatal(err)
	}
	return found
}

// ask calls one of the lab's endpoints and expects a status.
func (s *started) ask(method, path string, body any, status int) map[string]any {
	s.t.Helper()
	data, isRaw := body.([]byte)
	if !isRaw && body != nil {
		data, _ = json.Marshal(body)
	}
	req, err := http.NewRequest(method, "https://"+s.url.Host+path, bytes.NewReader(data))
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != status {
		s.t.Fatalf("%s %s: %d, not %d: %s", method, path, resp.StatusCode, status, text)
	}
	found := map[string]any{}
	_ = json.Unmarshal(text, &found)
	return found
}

type rule map[string]any

func (s *started) fault(r rule) {
	s.t.Helper()
	s.ask("POST", "/lab/faults", r, http.StatusOK)
}

func (s *started) mend() {
	s.t.Helper()
	s.ask("DELETE", "/lab/faults", nil, http.StatusOK)
}

// faultOf is the vSphere fault of an error, nil where it is something else.
func faultOf(err error) types.AnyType {
	switch {
	case err == nil:
		return nil
	case soap.IsSoapFault(err):
		return soap.ToSoapFault(err).VimFault()
	case soap.IsVimFault(err):
		return soap.ToVimFault(err)
	}
	if f, ok := err.(interface{ Fault() types.BaseMethodFault }); ok {
		return f.Fault()
	}
	return nil
}

func mustFail[F any](t *testing.T, err error) {
	t.Helper()
	fault := faultOf(err)
	_, value := fault.(F)
	_, pointer := fault.(*F)
	if !value && !pointer {
		t.Fatalf("not %T but %T (%v)", *new(F), fault, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
