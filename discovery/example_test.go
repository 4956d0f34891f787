package discovery_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/cell-runtime/cell/discovery"
	"github.com/cell-runtime/cell/identity"
)

// A program that is found by others under the name "ledger", and prints who
// comes and goes. It shares its node's key and trust; what cellnode id and
// cellnode join have made.
func ExampleStart() {
	const dir = "/var/lib/cell"
	mine, err := identity.LoadCredentials(dir)
	if err != nil {
		log.Fatal(err)
	}
	trust, err := identity.LoadTrust(dir)
	if err != nil {
		log.Fatal(err)
	}
	o := discovery.Options{Services: []discovery.Service{{Name: "ledger", Fingerprints: []uint64{0x2f1d_90c4_77ab_e003}}}}
	o.Name = "example"
	discovery.FromIdentity(&o.Config, mine, trust, "")
	agent, err := discovery.Start(o)
	if err != nil {
		log.Fatal(err)
	}
	defer agent.Close() // says farewell

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for w := agent.Watch(); ; {
		e, err := w.Next(ctx)
		if err != nil {
			return
		}
		fmt.Println(e.Kind, e.Peer.Beacon.Name)
	}
}

// What a name leads to on this host, without an agent and without a network. On
// a host that has no such cell it says where it has looked.
func ExampleResolver() {
	r := discovery.NewResolver(discovery.ResolverOptions{
		Dir:     "/nowhere",
		Dialers: []discovery.Dialer{discovery.RingDialer(nil)},
	})
	target, err := discovery.ParseTarget("cell://ledger")
	if err != nil {
		log.Fatal(err)
	}
	paths, why := r.Resolve(context.Background(), target)
	fmt.Println(len(paths), "paths;", why)
	// Output: 0 paths; [this host has no cell of that name in /nowhere]
}
