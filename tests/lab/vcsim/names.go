package main

import "strings"

// escaped is a name as vCenter's API has it.
func escaped(name string) string { return nameEscapes.Replace(name) }

var (
	nameEscapes = strings.NewReplacer("%", "%25", "/", "%2f", `\`, "%5c")
	// fileNames makes a name that of a folder or file on a datastore.
	fileNames = strings.NewReplacer("/", "_", `\`, "_", "%", "_")
	// pathEscapes is for names in an API parameter: a per cent sign may begin an escape already.
	pathEscapes = strings.NewReplacer("/", "%2f", `\`, "%5c")
)
