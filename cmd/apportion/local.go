package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net"
	"os"
	"path/filepath"
	"slices"

	"apportion/billing/web/access"
	"apportion/billing/web/auth"
	"apportion/cmd/apportion/config"
)

// localOperator is the name of the token of whoever runs dev, or demo.
const localOperator = "local"

// local is the API of dev and demo, for whoever runs them on this machine.
type local struct {
	api, ops net.Listener
	once     string // signs a browser in, once
	token    string // the file that has the operator's token
	config   string // the file that has the configuration
}

// serveLocally serves the API, health and metrics on this machine until it is stopped, and writes the configuration for
// other commands, which somebody may be waiting for to appear.
func (a *app) serveLocally(ctx context.Context, data string) (l *local, stop func(), err error) {
	conn, err := a.clickhouse(ctx)
	if err != nil {
		return nil, nil, err
	}
	s, err := a.newServices(conn)
	if err != nil {
		return nil, nil, err
	}
	if l, err = a.newLocal(data); err != nil {
		return nil, nil, err
	}
	if stop, err = l.serve(a, s); err != nil {
		return nil, nil, err
	}
	if err := writeConfig(l.config, a.cfg); err != nil {
		stop()
		return nil, nil, err
	}
	return l, stop, nil
}

// newLocal listens for the API and for health on this machine, and turns the configuration to it: with a token, new at
// every start, that is written to the directory of the data, and with the keys of sessions.
func (a *app) newLocal(data string) (l *local, err error) {
	if !config.Loopback(a.cfg.HTTP.Listen) {
		return nil, usagef("http.listen (from %s) is %s: this serves on this machine only, such as on 127.0.0.1:8080",
			a.sources["http.listen"], a.cfg.HTTP.Listen)
	}
	l = &local{once: rand.Text(), token: filepath.Join(data, "token"), config: filepath.Join(data, "apportion.yaml")}
	secret, err := access.NewToken(rand.Reader)
	if err != nil {
		return nil, err
	}
	if err := writePrivate(l.token, []byte(secret+"\n")); err != nil {
		return nil, err
	}
	others := slices.DeleteFunc(a.cfg.Auth.Tokens, func(t config.Token) bool { return t.Name == localOperator })
	a.cfg.Auth.Tokens = append(others,
		config.Token{Name: localOperator, SHA256: access.HashToken(secret),
			Roles: []string{string(access.Operator), string(access.Finance)}})
	if len(a.cfg.Auth.SessionKeys) == 0 {
		key := make([]byte, auth.KeyBytes)
		rand.Read(key)
		a.cfg.Auth.SessionKeys = []string{base64.StdEncoding.EncodeToString(key)}
	}
	if l.api, err = a.listenLocally("http.listen", &a.cfg.HTTP.Listen); err != nil {
		return nil, err
	}
	if a.cfg.HTTP.Ops == "" {
		a.cfg.HTTP.Ops = defaultOps
	}
	if l.ops, err = a.listenLocally("http.ops", &a.cfg.HTTP.Ops); err != nil {
		l.api.Close()
		return nil, err
	}
	return l, nil
}

// listenLocally listens on an address, or on another if that is taken and nobody has set it, and sets it to what it is.
func (a *app) listenLocally(key string, address *string) (net.Listener, error) {
	listener, err := a.listen(key, *address)
	if err != nil && a.sources[key] == "default" {
		listener, err = a.listen(key, "127.0.0.1:0")
	}
	if err != nil {
		return nil, err
	}
	*address = listener.Addr().String()
	return listener, nil
}

// serve serves until it is stopped.
func (l *local) serve(a *app, s *services) (stop func(), err error) {
	m := newMetrics()
	m.watch(s)
	stopOps, err := a.serveHealthOn(l.ops, s.conn, m)
	if err != nil {
		return nil, err
	}
	stopAPI, err := a.serveAPIOn(l.api, s, l.once)
	if err != nil {
		stopOps()
		return nil, err
	}
	return func() {
		stopAPI()
		stopOps()
	}, nil
}

// link signs a browser in, once.
func (l *local) link() string { return "http://" + l.api.Addr().String() + "/login?once=" + l.once }

// writePrivate writes a file that only its owner reads, whole or not at all.
func writePrivate(file string, content []byte) error {
	temporary := file + ".tmp"
	if err := os.WriteFile(temporary, content, 0o600); err != nil {
		return err
	}
	if err := os.Chmod(temporary, 0o600); err != nil { // one that was there keeps its mode
		return err
	}
	return os.Rename(temporary, file)
}
