package redistest

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

// Sentinels is a master with a replica, watched by three sentinels under the name MasterName.
type Sentinels struct {
	Master, Replica *Server
	Sentinels       []*Server
}

// MasterName is what the sentinels call their master.
const MasterName = "store"

// StartSentinels starts the five processes. They take about two seconds to replace a master that was killed.
func StartSentinels(t testing.TB) *Sentinels {
	t.Helper()
	master := Start(t, "repl-diskless-sync yes", "repl-diskless-sync-delay 0")
	host, port, err := net.SplitHostPort(master.Addr)
	if err != nil {
		t.Fatal(err)
	}
	g := &Sentinels{Master: master, Replica: Start(t, "replicaof "+host+" "+port)}
	Await(t, "the replica", func() bool { return strings.Contains(g.Replica.Do("INFO", "replication"), "master_link_status:up") })
	for range 3 {
		own := freePort(t)
		g.Sentinels = append(g.Sentinels, run(t, t.TempDir(), own, true, []string{
			"port " + own, "bind 127.0.0.1", "daemonize no", "protected-mode no",
			fmt.Sprintf("sentinel monitor %s %s %s 2", MasterName, host, port),
			"sentinel down-after-milliseconds " + MasterName + " 500",
			"sentinel failover-timeout " + MasterName + " 3000",
		}, "--sentinel"))
	}
	Await(t, "the sentinels to know each other and the replica", func() bool {
		for _, s := range g.Sentinels {
			if info := s.Do("INFO", "sentinel"); !strings.Contains(info, "slaves=1") || !strings.Contains(info, "sentinels=3") {
				return false
			}
		}
		return true
	})
	return g
}

// Addrs are the sentinels' addresses.
func (g *Sentinels) Addrs() []string { return Addrs(g.Sentinels) }

// StartCluster starts a cluster of three masters, with all slots given out.
func StartCluster(t testing.TB) []*Server {
	t.Helper()
	var nodes []*Server
	for range 3 {
		nodes = append(nodes, Start(t, "cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-node-timeout 2000"))
	}
	const slots = 16384
	for i, node := range nodes {
		first, last := slots*i/len(nodes), slots*(i+1)/len(nodes)-1
		if reply := node.Do("CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(first), fmt.Sprint(last)); !strings.HasPrefix(reply, "+OK") {
			t.Fatalf("slots of %s: %s", node.Addr, reply)
		}
		if reply := node.Do("CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1)); !strings.HasPrefix(reply, "+OK") {
			t.Fatalf("epoch of %s: %s", node.Addr, reply)
		}
		host, port, err := net.SplitHostPort(node.Addr)
		if err != nil {
			t.Fatal(err)
		}
		nodes[0].Do("CLUSTER", "MEET", host, port)
	}
	Await(t, "the cluster", func() bool {
		for _, node := range nodes {
			if info := node.Do("CLUSTER", "INFO"); !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_known_nodes:3") {
				return false
			}
		}
		return true
	})
	return nodes
}

// Addrs are the servers' addresses.
func Addrs(servers []*Server) []string {
	var all []string
	for _, s := range servers {
		all = append(all, s.Addr)
	}
	return all
}
