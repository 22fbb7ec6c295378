package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"apportion/cmd/apportion/config"
	"apportion/schemas/civil"
)

func newConfigCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "Show the current settings and where each came from",
		Long: `Shows every setting with its value and where that came from: the default, a line of the
configuration file, an environment variable or a flag. Secrets are hidden.

The environment variable of a setting is its key in capitals, with APPORTION_ before it and
underscores between the words: kafka.topicPrefix is APPORTION_KAFKA_TOPIC_PREFIX.`,
		Example: `  apportion config
  apportion config --config data/apportion.yaml --json
  APPORTION_RULES_GRACE_DAYS=5 apportion config`,
		Args: cobra.NoArgs,
		RunE: a.command(func(context.Context, []string) error {
			type row struct {
				Key    string `json:"key"`
				Value  string `json:"value"`
				Source string `json:"source"`
			}
			var result []row
			var rows [][]string
			a.warnOfClearPassword()
			a.sources["time.zoneData"] += ": edition " + civil.Edition()
			for _, s := range config.Settings(&a.cfg) {
				result = append(result, row{s.Key, s.String(), a.sources[s.Key]})
				rows = append(rows, []string{s.Key, s.String(), a.sources[s.Key]})
			}
			return a.print(result, func(w io.Writer) { writeTable(w, []string{"KEY", "VALUE", "SOURCE"}, rows) })
		}),
	}
}
