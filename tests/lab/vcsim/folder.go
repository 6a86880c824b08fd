package main

import (
	"errors"
	"net/http"
	"os"
	"path"
	"strings"
)

// serveFolder serves the files of the datastore, as https://…/folder/VM/disk1-flat.vmdk?dcPath=DC0&dsName=LocalDS_0.
// Byte ranges and HEAD are http.ServeContent's.
func (s *server) serveFolder(w http.ResponseWriter, r *http.Request) {
	if !s.authenticated(w, r) {
		w.Header().Set("WWW-Authenticate", `Basic realm="VMware HTTP server"`)
		http.Error(w, "authentication required", http.StatusUnauthorized)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "the lab's datastore is read only", http.StatusMethodNotAllowed)
		return
	}
	query := r.URL.Query()
	store := s.lab.storeNamed(query.Get("dsName"))
	if strings.Trim(query.Get("dcPath"), "/") != s.lab.datacenter || store == nil {
		http.Error(w, "no such datacenter or datastore", http.StatusNotFound)
		return
	}
	// A root keeps the path inside the datastore, symbolic links included.
	root, err := os.OpenRoot(store.dir)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = root.Close() }()
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/folder/")
	if store.objects && isExtent(name) {
		http.Error(w, "cannot open "+name, http.StatusNotFound)
		return
	}
	file, err := root.Open(name)
	if err != nil {
		status := http.StatusForbidden
		if errors.Is(err, os.ErrNotExist) {
			status = http.StatusNotFound
		}
		http.Error(w, "cannot open "+name, status)
		return
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		http.Error(w, "not a file", http.StatusForbidden)
		return
	}
	if s.lab.nfc.Switches().FolderLocks {
		lock := datastoreFile(store.name, name)
		if !s.lab.locks.browse(lock) {
			http.Error(w, "the file is in use", http.StatusInternalServerError)
			return
		}
		defer s.lab.locks.browsed(lock)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", info.ModTime(), file)
}
