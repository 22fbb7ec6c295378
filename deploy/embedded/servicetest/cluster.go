package servicetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"apportion/deploy/embedded"
)

// ClusterName is what the servers of Cluster call the cluster that they are.
const ClusterName = "pair"

var cluster shared[Servers]

// Servers are those of a cluster, one for each shard.
type Servers []*embedded.ClickHouse

// Cluster returns the native address of the first of two servers that are the two shards of a cluster, without
// replicas, and the name of a database that neither has. What a test makes of it is dropped when it ends, and so is
// a database of that name with "_shard" after it.
func Cluster(t testing.TB) (addr, database string) {
	t.Helper()
	servers := cluster.get(t, func() (Servers, error) {
		dir, err := dataDir()
		if err != nil {
			return nil, err
		}
		return StartCluster(embedded.Options{Data: dir, Progress: os.Stderr})
	})
	database = fmt.Sprintf("test_%d", databases.Add(1))
	t.Cleanup(func() {
		for _, s := range servers {
			for _, name := range []string{database, database + "_shard"} {
				execute(t, s.HTTPAddr, "DROP DATABASE IF EXISTS "+name+" SYNC")
			}
		}
	})
	return servers[0].Addr, database
}

// StartCluster starts both servers of a cluster as Cluster has it, with data and users of their own. They know each
// other by the addresses of their relays, which are chosen beforehand, and by a secret: so a shard knows who asks.
func StartCluster(o embedded.Options) (servers Servers, err error) {
	addrs, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	var shards strings.Builder
	var ports []int
	for _, addr := range addrs {
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		n, err := strconv.Atoi(port)
		if err != nil {
			return nil, err
		}
		ports = append(ports, n)
		fmt.Fprintf(&shards, "<shard><replica><host>%s</host><port>%s</port></replica></shard>", host, port)
	}
	o.ClickHouseConfig = fmt.Sprintf("<remote_servers><%[1]s><secret>between us</secret>%[2]s</%[1]s></remote_servers>",
		ClusterName, shards.String())
	data := o.Data
	for i, port := range ports {
		o.Data, o.ClickHousePort = filepath.Join(data, "shard"+strconv.Itoa(i+1)), port
		s, err := embedded.StartClickHouse(context.Background(), o)
		if err != nil {
			return nil, errors.Join(err, servers.Stop())
		}
		servers = append(servers, s)
	}
	return servers, nil
}

// Stop stops all of them.
func (servers Servers) Stop() (err error) {
	for _, s := range servers {
		err = errors.Join(err, s.Stop())
	}
	return err
}
