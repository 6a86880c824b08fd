// Command govc is govmomi's command line with the one command that the benchmark needs, `collect`. govmomi keeps the
// commands in its own module (package cli); its govc is a main function like this one that registers all of them.
package main

import (
	"os"

	"github.com/vmware/govmomi/cli"
	_ "github.com/vmware/govmomi/cli/object" // registers collect
)

func main() { os.Exit(cli.Run(os.Args[1:])) }
