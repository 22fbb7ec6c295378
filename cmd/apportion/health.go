package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

func newHealthCommand(a *app) *cobra.Command {
	var address string
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask a process whether it is ready",
		Long: `Asks /readyz of the process that serves on http.ops (default: 127.0.0.1:8081), or on the
address given, and says what it answers: exit code 1 when it is not ready or does not answer.
It is for health checks of containers, whose image has no other program.`,
		Example: `  apportion health --config apportion.yaml
  apportion health --address apportion-ops:8081`,
		Args: cobra.NoArgs,
		RunE: a.command(func(ctx context.Context, _ []string) error {
			answer, err := askReady(ctx, cmp.Or(address, ownAddress(cmp.Or(a.cfg.HTTP.Ops, defaultOps))))
			if err != nil {
				return err
			}
			return a.print(map[string]bool{"ready": true}, func(w io.Writer) { fmt.Fprintln(w, answer) })
		}),
	}
	cmd.Flags().StringVar(&address, "address", "", "ask on this `host:port`")
	return cmd
}

// ownAddress is where this machine reaches what is listened to on an address, which may be that of any interface.
func ownAddress(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("localhost", port)
	}
	return listen
}

// askReady asks a process whether it is ready, and returns what it answers then; else an error that says why it is not.
func askReady(ctx context.Context, address string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
	if err != nil {
		return "", usagef("--address %s: write it as host:port, such as 127.0.0.1:8081", address)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", fmt.Errorf("no process answers on %s: %w", address, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	answer := strings.TrimSpace(string(body))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", address, answer)
	}
	return answer, err
}
