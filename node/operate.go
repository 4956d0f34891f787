package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/netops"
	"github.com/cell-runtime/cell/node/ops"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/schema"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// listen serves operators. The socket is for the node's own user and root: the
// kernel says who calls. Whoever has the name is the directory's one node.
func (n *Node) listen() (*rpc.Server, *uds.Listener, error) {
	server, err := rpc.NewServer(&rpc.ServerOptions{Name: config.OpsName, Logger: n.log,
		Middleware: []rpc.ServerMiddleware{{Blocking: withPeer}}})
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(ops.RegisterNode(server, operator{n}), netops.RegisterNetwork(server, n.network.Operations())); err != nil {
		return nil, nil, err
	}
	l, err := uds.Listen(config.OpsName, &uds.Options{Dir: n.dir})
	if err != nil {
		if errors.Is(err, uds.ErrInUse) {
			err = fmt.Errorf("another node runs in %s: %w", n.dir, err)
		}
		return nil, nil, err
	}
	return server, l, nil
}

// peerKey is under which a handler's context has its caller.
type peerKey struct{}

// withPeer lets typed handlers know who calls.
func withPeer(_ *rpc.Method, next rpc.BlockingFunc) rpc.BlockingFunc {
	return func(ctx context.Context, x *rpc.Exchange) error {
		return next(context.WithValue(ctx, peerKey{}, x.Peer()), x)
	}
}

func caller(ctx context.Context) string {
	p, _ := ctx.Value(peerKey{}).(link.Peer)
	return who(p)
}

// operator implements ops.Node.
type operator struct{ node *Node }

// Cells implements ops.Node.
func (o operator) Cells(context.Context) (list ops.CellList, err error) { return o.node.State(), nil }

// State returns all cells as operators see them.
func (n *Node) State() ops.CellList {
	list := ops.CellList{PID: int32(os.Getpid()), Since: n.since.UnixNano()}
	for _, c := range n.list() {
		list.Cells = append(list.Cells, c.state())
	}
	return list
}

// state returns the cell as operators see it.
func (c *cell) state() ops.CellState {
	versions := c.all()
	now := versions[len(versions)-1]
	s := ops.CellState{Name: c.name, Capsid: now.config.Capsid, Version: now.name, Versions: int32(len(versions)), Restarts: c.restarts.Load()}
	s.State, s.Why = now.state()
	now.mu.Lock()
	for _, info := range now.services {
		s.Services = append(s.Services, info.Name)
	}
	now.mu.Unlock()
	for _, v := range versions {
		for _, i := range v.running() {
			one := ops.Instance{PID: int32(i.process.PID()), Version: v.name, State: stateReady, Since: i.since.UnixNano(), Callers: uint32(i.callers.Load()), Degraded: i.process.Degraded()}
			if i.draining.Load() {
				one.State = stateDraining
			}
			if u, err := i.process.Usage(); err == nil {
				one.CPU, one.Memory = int64(u.User+u.System), u.Memory
				if one.Memory == 0 {
					one.Memory = u.PeakMemory
				}
			}
			s.Callers += one.Callers
			s.Instances = append(s.Instances, one)
		}
	}
	if f := c.known(); f != nil {
		s.Callers += uint32(f.server.Stats().Links)
	}
	return s
}

// Devices implements ops.Node.
func (o operator) Devices(context.Context) (list ops.DeviceList, err error) {
	for _, d := range o.node.listDevices() {
		list.Devices = append(list.Devices, d.state())
	}
	return list, nil
}

// Versions implements ops.Node.
func (o operator) Versions(_ context.Context, req ops.Name) (list ops.VersionList, err error) {
	c, err := o.find(req.Cell)
	if err != nil {
		return list, err
	}
	versions := c.all()
	for n, v := range versions {
		one := ops.Version{Name: v.name, Command: v.config.Command, Current: n == len(versions)-1, Used: v.used.Load(), Callers: uint32(v.callers())}
		one.State, one.Why = v.state()
		v.mu.Lock()
		for _, d := range v.descs {
			for i := range d.Methods {
				m := &d.Methods[i]
				method := ops.Method{Name: m.String(), Fingerprint: schema.FormatFingerprint(m.Fingerprint)}
				for _, a := range m.Ancestors {
					method.Accepts = append(method.Accepts, schema.FormatFingerprint(a.Fingerprint))
				}
				one.Methods = append(one.Methods, method)
			}
		}
		v.mu.Unlock()
		list.Versions = append(list.Versions, one)
	}
	return list, nil
}

// find finds a cell for an operator.
func (o operator) find(name string) (*cell, error) {
	c, err := o.node.find(name)
	if err != nil {
		return nil, rpc.Errorf(wire.StatusNotFound, "%w", err)
	}
	return c, nil
}

// Spawn implements ops.Node.
func (o operator) Spawn(ctx context.Context, req ops.Name) (done ops.Done, err error) {
	c, err := o.find(req.Cell)
	if err != nil {
		return done, err
	}
	v := c.current()
	if i, _ := v.pick(); i != nil {
		return ops.Done{Did: []string{fmt.Sprintf("%v runs already", i)}}, nil
	}
	v.wake()
	i, err := c.ensure(ctx, v, caller(ctx), "spawn")
	o.node.keep()
	if err != nil {
		return done, failed(err)
	}
	return ops.Done{Did: []string{fmt.Sprintf("%v is ready", i)}}, nil
}

// Stop implements ops.Node.
func (o operator) Stop(ctx context.Context, req ops.Name) (done ops.Done, err error) {
	c, err := o.find(req.Cell)
	if err != nil {
		return done, err
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	for _, v := range c.all() {
		for _, i := range v.running() {
			done.Did = append(done.Did, fmt.Sprintf("%v was stopped", i))
		}
		v.mu.Lock()
		v.stopped = true
		v.mu.Unlock()
		c.sleep(v, caller(ctx), "stopped by "+caller(ctx)+"; a call starts it again")
	}
	o.node.keep()
	if len(done.Did) == 0 {
		done.Did = append(done.Did, req.Cell+" did not run")
	}
	return done, nil
}

// Restart implements ops.Node.
func (o operator) Restart(ctx context.Context, req ops.Name) (done ops.Done, err error) {
	c, err := o.find(req.Cell)
	if err != nil {
		return done, err
	}
	done.Did, err = c.restart(ctx, caller(ctx))
	return done, failed(err)
}

// Deploy implements ops.Node.
func (o operator) Deploy(ctx context.Context, req ops.Deployment) (done ops.Done, err error) {
	c, err := o.find(req.Cell)
	if err != nil {
		return done, err
	}
	c.mu.Lock()
	settings := c.config
	c.mu.Unlock()
	settings.Version = req.Version
	if len(req.Command) > 0 {
		settings.Command = req.Command
	}
	if _, err := settings.Spec(c.name).Settle(); err != nil {
		return done, rpc.Errorf(wire.StatusInvalidArgument, "%w", err)
	}
	done.Did, err = c.deploy(ctx, deployment{version: newVersion(settings), who: caller(ctx), watch: time.Duration(max(req.Watch, 0))})
	return done, failed(err)
}

// Logs implements ops.Node.
func (o operator) Logs(ctx context.Context, req ops.LogRequest, out rpc.Sender[ops.Line]) (done ops.Done, err error) {
	c, err := o.find(req.Cell)
	if err != nil {
		return done, err
	}
	past, f := c.journal.last(int(req.Lines), req.Follow)
	if f != nil {
		defer c.journal.stop(f)
	}
	send := func(l line) error {
		return out.Send(ops.Line{At: l.at.UnixNano(), Source: l.source, Text: l.text, Lost: l.lost})
	}
	for _, l := range past {
		if err := send(l); err != nil {
			return done, err
		}
	}
	for f != nil {
		select {
		case l := <-f.ch:
			if err := send(l); err != nil {
				return done, err
			}
		case <-ctx.Done():
			return done, context.Cause(ctx)
		case <-o.node.ctx.Done():
			return done, nil
		}
	}
	return done, nil
}

// Audit implements ops.Node.
func (o operator) Audit(context.Context) (list ops.AuditList, err error) {
	for _, e := range o.node.audit.all() {
		list.Entries = append(list.Entries, ops.Entry{At: e.At.UnixNano(), Who: e.Who, Did: e.Did, Cell: e.Cell, Why: e.Why})
	}
	return list, nil
}

// Reload implements ops.Node.
func (o operator) Reload(ctx context.Context) (done ops.Done, err error) {
	done.Did, err = o.node.Reload(ctx, caller(ctx))
	if err != nil && len(done.Did) > 0 {
		err = fmt.Errorf("%w\ndone was: %s", err, strings.Join(done.Did, "; "))
	}
	return done, failed(err)
}

// failed gives an error of the node the status that operators see.
func failed(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, config.ErrConfig):
		return rpc.Errorf(wire.StatusInvalidArgument, "%w", err)
	}
	return rpc.Errorf(statusFor(err), "%w", err)
}
