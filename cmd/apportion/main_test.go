package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every command says what it does, in short and at length, and shows how it is used.
func TestCommandsHaveHelp(t *testing.T) {
	seen := 0
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		seen++
		path := cmd.CommandPath()
		if cmd.Short == "" || cmd.Long == "" {
			t.Errorf("%s does not say what it does", path)
		}
		if !strings.Contains(cmd.Example, "apportion") || strings.Contains(cmd.Example, "\t") {
			t.Errorf("%s has no example, or one that tabs misalign: %q", path, cmd.Example)
		}
		if !cmd.HasSubCommands() && !strings.Contains(cmd.Example, path) {
			t.Errorf("no example of %s shows that command: %q", path, cmd.Example)
		}
		if cmd.Args == nil {
			t.Errorf("%s does not say which arguments it takes, so it would take any", path)
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(newRoot(&app{}))
	if seen < 10 {
		t.Errorf("only %d commands were looked at", seen)
	}
}
