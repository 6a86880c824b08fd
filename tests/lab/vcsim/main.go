// Command labvcsim is the lab's vCenter: govmomi's simulator with what it lacks for a migration: disks with real
// content, snapshots that freeze them, changed block tracking, and a way to play the guest that writes to them.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

type options struct {
	listen, cert, key, user, passwordFile, datastore, inventory string
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "address to listen on; port 0 means any free port")
	flag.StringVar(&o.cert, "cert", "", "TLS certificate (PEM)")
	flag.StringVar(&o.key, "key", "", "TLS private key (PEM)")
	flag.StringVar(&o.user, "user", "", "the only user that may log in")
	flag.StringVar(&o.passwordFile, "password-file", "", "file with that user's password; one newline at the end is cut off")
	flag.StringVar(&o.datastore, "datastore", "", "folder for the datastore; its LocalDS_0 and vsan01 must be empty or missing")
	flag.StringVar(&o.inventory, "inventory", "", "JSON file with the virtual machines")
	flag.Parse()
	log.SetOutput(os.Stderr)
	if err := run(o); err != nil {
		log.Printf("labvcsim: %v", err)
		os.Exit(1)
	}
}

func run(o options) error {
	for name, value := range map[string]string{
		"cert": o.cert, "key": o.key, "user": o.user, "password-file": o.passwordFile,
		"datastore": o.datastore, "inventory": o.inventory,
	} {
		if value == "" {
			return fmt.Errorf("-%s is required", name)
		}
	}
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()

	password, err := os.ReadFile(o.passwordFile)
	if err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return err
	}
	inv, err := loadInventory(o.inventory)
	if err != nil {
		return err
	}
	lab, err := newLab(inv, o.datastore)
	if err != nil {
		return err
	}
	defer lab.close()
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	ip, _, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return err
	}
	if err := lab.startNFC(ip); err != nil {
		return err
	}
	server := newServer(lab, account{o.user, strings.TrimSuffix(string(password), "\n")}, listener.Addr().String(), cert)
	return serve(stop, server, listener)
}

func serve(stop context.Context, server *server, listener net.Listener) error {
	done := make(chan error, 1)
	go func() { done <- server.http.ServeTLS(listener, "", "") }()
	// The listener already queues connections, so whoever reads this line may connect.
	ready := map[string]any{"url": "https://" + listener.Addr().String() + "/sdk", "pid": os.Getpid()}
	if err := json.NewEncoder(os.Stdout).Encode(ready); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-stop.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	// A client that waits for updates would hold the shutdown for minutes: after the grace it is cut off.
	if err := server.http.Shutdown(grace); err != nil {
		_ = server.http.Close()
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
