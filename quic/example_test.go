package quic_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cell-runtime/cell/identity"
	"github.com/cell-runtime/cell/quic"
	"github.com/cell-runtime/cell/wire"
)

// node opens an endpoint of a node that joins by a token.
func node(token *identity.Token) (*quic.Endpoint, identity.ID, error) {
	key, err := identity.Generate() // a real node: identity.LoadCredentials
	if err != nil {
		return nil, identity.ID{}, err
	}
	credentials, err := identity.NewCredentials(key)
	if err != nil {
		return nil, identity.ID{}, err
	}
	membership, err := token.Join(key.ID(), time.Now())
	if err != nil {
		return nil, identity.ID{}, err
	}
	trust := &identity.Trust{}
	if err := errors.Join(credentials.SetMembership(membership), trust.SetCluster(token.Grant.Cluster)); err != nil {
		return nil, identity.ID{}, err
	}
	e, err := quic.Listen("127.0.0.1:0", credentials, trust, nil)
	return e, key.ID(), err
}

// One vesicle between two nodes that have a token in common.
func ExampleEndpoint() {
	cluster, err := identity.NewCluster()
	if err != nil {
		fmt.Println(err)
		return
	}
	token, err := cluster.NewToken(time.Now(), time.Hour, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	a, _, errA := node(token)
	b, idB, errB := node(token)
	if err := errors.Join(errA, errB); err != nil {
		fmt.Println(err)
		return
	}
	defer a.Close()
	defer b.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := a.Dial(ctx, b.Addr().String(), idB, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer out.Close()
	in, err := b.Accept(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer in.Close()

	vs := make([]wire.Vesicle, 1)
	if _, err := out.Claim(vs, len("hello")); err != nil {
		fmt.Println(err)
		return
	}
	copy(vs[0].Payload, "hello")
	vs[0].Header = wire.Header{Kind: wire.KindEvent, Fingerprint: 7}
	if err := errors.Join(out.Commit(vs), out.Flush()); err != nil {
		fmt.Println(err)
		return
	}
	for {
		n, err := in.Poll(vs)
		if err != nil {
			fmt.Println(err)
			return
		}
		if n == 1 {
			break
		}
		time.Sleep(time.Millisecond) // an engine waits on WaitFDs instead
	}
	fmt.Printf("%v %x: %s\n", vs[0].Header.Kind, vs[0].Header.Fingerprint, vs[0].Payload)
	fmt.Println(in.Info().Kind, in.Peer().By, in.Release(1))
	// Output:
	// event 7: hello
	// quic cluster <nil>
}
