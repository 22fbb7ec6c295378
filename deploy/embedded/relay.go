package embedded

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
)

// relay passes connections on to the server, and ends them in order there whatever became of the client: the
// library, unlike a server proper, aborts when a connection is reset under a query, which is what the kernel
// does for a client that was killed. It also keeps the address while the server is started again.
type relay struct {
	listener net.Listener
	log      *slog.Logger
}

// listen takes a port on loopback, 0 for any.
func listen(port int, log *slog.Logger) (*relay, error) {
	listener, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return nil, fmt.Errorf("%w: %s is in use by another process: choose another or 0 for any (%w)",
			errPortTaken, loopback(port), err)
	}
	return &relay{listener, log}, nil
}

// serve passes connections on to what target names at the time, until the relay is closed.
func (r *relay) serve(target func() string) {
	for {
		client, err := r.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			r.log.Warn("a connection to ClickHouse was not accepted", "error", err)
			continue
		}
		go pass(client.(*net.TCPConn), target())
	}
}

// pass copies both ways until the server ends the connection. A server that is not there ends it at once, which
// tells the client to try again.
func pass(client *net.TCPConn, target string) {
	defer client.Close()
	conn, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	server := conn.(*net.TCPConn)
	defer server.Close()
	go func() {
		io.Copy(server, client)
		server.CloseWrite()
	}()
	if _, err := io.Copy(client, server); err != nil {
		// The client is gone: what the server still has to say is heard to its end.
		io.Copy(io.Discard, server)
	}
}
