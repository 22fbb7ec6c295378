package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"apportion/schemas/civil"
	"apportion/schemas/tables"
)

// release is the version of this release, and commit the source that it was built from. A build may set both:
//
//	go build -ldflags "-X main.release=0.1.1 -X main.commit=$(git rev-parse HEAD)"
//
// Without a commit it is the one that Go recorded, which it does where it builds in a clone.
var (
	release = "0.1.0"
	commit  = ""
)

// build is what is known of the program itself.
type build struct {
	Version string `json:"version"`
	// Commit is "unknown" where the build recorded none, and ends in "-modified" where files differed from it.
	Commit string        `json:"commit"`
	Go     string        `json:"go"`
	Schema tables.Window `json:"schema"`
	// ZoneData is the edition of the time zone data in use.
	ZoneData string `json:"zoneData"`
}

func thisBuild() build {
	b := build{release, cmp.Or(commit, "unknown"), runtime.Version(), tables.Works(), civil.Edition()}
	info, ok := debug.ReadBuildInfo()
	if !ok || commit != "" {
		return b
	}
	recorded := map[string]string{}
	for _, s := range info.Settings {
		recorded[s.Key] = s.Value
	}
	if revision := recorded["vcs.revision"]; revision != "" {
		b.Commit = revision
		if recorded["vcs.modified"] == "true" {
			b.Commit += "-modified"
		}
	}
	return b
}

// String says it in one line.
func (b build) String() string {
	return fmt.Sprintf("%s, commit %s, %s, schema %v, time zones %s", b.Version, b.Commit, b.Go, b.Schema, b.ZoneData)
}

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the release, and what it works with",
		Long: `Shows the release, the commit that it was built from, the version of Go, the versions of
the schema of the tables that it works with, and the edition of the time zone data in use,
which time.zoneData may say. "apportion --version" reads no configuration, and has the edition
that comes with the program.`,
		Example: `  apportion version
  apportion version --json`,
		Args: cobra.NoArgs,
		RunE: a.command(func(context.Context, []string) error {
			b := thisBuild()
			return a.print(b, func(w io.Writer) {
				writeTable(w, nil, [][]string{
					{"apportion", b.Version}, {"commit", b.Commit}, {"Go", b.Go},
					{"schema", b.Schema.String()}, {"time zones", b.ZoneData},
				})
			})
		}),
	}
}
