package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cell-runtime/cell/can"
	"github.com/cell-runtime/cell/link"
	"github.com/cell-runtime/cell/node/config"
	"github.com/cell-runtime/cell/node/ops"
	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/rpc/forward"
	"github.com/cell-runtime/cell/serial"
	"github.com/cell-runtime/cell/uds"
	"github.com/cell-runtime/cell/wire"
)

// device is what is on a line or a bus, as the node has it among its cells:
// callers reach it by its name, and it reaches cells by fingerprint, since a
// vesicle has no address.
//
//	caller ── ring ──► node ── line ──► device
//	cell   ◄── ring ── node ◄── line ── device
//
// It may come later, go and come back. Links of the node's engine alone are
// joined, so all of this happens on that thread.
type device struct {
	node   *Node
	name   string
	config config.Device
	server *rpc.Server // of its callers
	target *forward.Target
	cells  *front // that it may call; nil: none

	routing sync.Mutex // held by whoever changes where cells leads

	mu       sync.Mutex // guards what follows
	info     link.Info  // of its link
	up       bool
	why      string // it is not
	services []string
}

// openDevices listens for the callers of all devices, and begins to connect to
// those. No configuration: nothing.
func (n *Node) openDevices() error {
	all := map[string]*device{}
	for name, settings := range n.config.Devices {
		d := &device{node: n, name: name, config: settings, why: "nothing was heard of it yet"}
		if err := d.open(); err != nil {
			return fmt.Errorf("devices.%s: %w", name, err)
		}
		all[name] = d
	}
	n.mu.Lock()
	n.devices = all
	n.mu.Unlock()
	n.reroute()
	return nil
}

// device returns a device by its name, or nil.
func (n *Node) device(name string) *device {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.devices[name]
}

// listDevices returns the devices by name.
func (n *Node) listDevices() []*device {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.SortedFunc(maps.Values(n.devices), func(a, b *device) int { return strings.Compare(a.name, b.name) })
}

// open listens for its callers, and keeps it connected.
func (d *device) open() error {
	n := d.node
	f, err := forward.New(n.engine, &forward.Options{Logger: n.log})
	if err != nil {
		return err
	}
	if d.server, err = rpc.NewServer(&rpc.ServerOptions{Name: d.name, Relay: f, Logger: n.log}); err != nil {
		return err
	}
	d.target = f.NewTarget(d.name)
	if err := d.announceFile(); err != nil {
		return err
	}
	if len(d.config.Reach) > 0 {
		if d.cells, err = n.newFront(); err != nil {
			return err
		}
		if err := d.target.Calls(d.cells); err != nil {
			return err
		}
	}
	mode := os.FileMode(0o600)
	if len(d.config.Users) > 0 {
		mode = 0o666
	}
	l, err := uds.Listen(d.name, &uds.Options{Dir: n.dir, Policy: d.admit, Mode: mode})
	if err != nil {
		return err
	}
	n.work.Go(func() {
		defer l.Close()
		defer d.server.Close()
		_ = d.server.Accept(n.halt, n.engine, l.AcceptLink)
	})
	if d.config.Disabled {
		d.lost(errors.New("it is disabled in the configuration"))
		return nil
	}
	n.work.Go(func() { _ = d.target.Keep(n.halt, d.dial, d.ask) })
	return nil
}

// admit decides who may call the device.
func (d *device) admit(p link.Peer) error {
	if p.UID == 0 || int(p.UID) == os.Geteuid() || slices.Contains(d.config.Users, p.UID) {
		return nil
	}
	d.node.audit.refused(fmt.Sprintf("user %d, %s", p.UID, d.name), who(p), d.name, "the user may not call it")
	return fmt.Errorf("user %d may not call %s; its configuration names users %v", p.UID, d.name, d.config.Users)
}

// dial connects to the device, which may take as long as it likes to appear.
func (d *device) dial(ctx context.Context) (l link.Link, err error) {
	d.mu.Lock()
	was := d.up
	d.mu.Unlock()
	if was {
		d.lost(errors.New("its link was lost"))
	}
	c := d.config
	switch c.Link {
	case "serial":
		l, err = serial.Dial(ctx, c.Path, serial.Mode{Baud: c.Baud, RTSCTS: c.RTSCTS}, nil)
	case "can":
		var bus *can.Node
		if bus, err = d.node.bus(c); err == nil {
			l, err = bus.Dial(ctx, can.NodeID(c.Number))
		}
	default:
		err = fmt.Errorf("%w: link %q", config.ErrConfig, c.Link)
	}
	if err != nil {
		d.lost(err)
		return nil, err
	}
	return l, nil
}

// lost notes that the device is not there, and why.
func (d *device) lost(why error) {
	d.mu.Lock()
	was := d.up
	d.up, d.why = false, why.Error()
	d.mu.Unlock()
	if was {
		d.node.log.Warn("device lost", "device", d.name, "why", why)
		d.node.audit.add("kernel", "lost", d.name, why.Error())
	}
}

// state returns the device as operators see it.
func (d *device) state() ops.DeviceState {
	s := ops.DeviceState{Name: d.name, Link: d.config.Link, Place: d.config.Path, Reach: d.config.Reach, Callers: uint32(d.server.Stats().Links)}
	if d.config.Link == "can" {
		s.Place = fmt.Sprintf("%s, number %d", d.config.Bus, d.config.Number)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s.Connected, s.Why, s.Services = d.up, d.why, slices.Clone(d.services)
	if d.up {
		s.Reliable, s.MaxPayload, s.LinkWhy = d.info.Reliable, int32(d.info.MaxPayload), d.info.Why
	}
	return s
}

// askPatience bounds what a device may take to describe itself.
const askPatience = 5 * time.Second

// ask has a device describe itself, where no description was given.
// Microcontrollers can't.
func (d *device) ask(ctx context.Context, l link.Link) error {
	if d.config.Schema == "" {
		if err := d.askAll(ctx, l); err != nil {
			d.lost(err)
			return err
		}
	}
	d.mu.Lock()
	d.up, d.why, d.info = true, "", l.Info()
	d.mu.Unlock()
	d.node.log.Info("device connected", "device", d.name, "link", l.Info().Kind)
	d.node.audit.add("kernel", "connected", d.name, l.Info().Kind)
	return nil
}

func (d *device) askAll(ctx context.Context, l link.Link) error {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	conn, err := rpc.NewConn(borrowed{l}, &rpc.ConnOptions{Wait: rpc.WaitPark, Name: "node"})
	if err != nil {
		return err
	}
	defer conn.Close()
	all, err := conn.List(ctx)
	if errors.Is(err, wire.StatusUnimplemented) {
		return fmt.Errorf("it does not describe itself: name its description in devices.%s.schema: %w", d.name, err)
	}
	if err != nil {
		return err
	}
	for _, s := range all {
		text, err := conn.Describe(ctx, s.Name)
		if err == nil {
			err = d.announce(text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// borrowed is a link that stays open when whoever borrowed it is done.
type borrowed struct{ link.Link }

func (borrowed) Shutdown()    {}
func (borrowed) Close() error { return nil }

// announce puts services of the device among those that can be called.
func (d *device) announce(text string) error {
	services, err := rpc.ParseServices(text)
	if err != nil {
		return err
	}
	for _, s := range services {
		if err := errors.Join(d.target.Serve(s), d.server.Announce(s)); err != nil {
			return err
		}
		d.mu.Lock()
		if !slices.Contains(d.services, s.Name) {
			d.services = append(d.services, s.Name)
		}
		d.mu.Unlock()
	}
	return nil
}

// announceFile announces what the configured description says: known before the
// device is there, so that callers hear "unavailable" meanwhile.
func (d *device) announceFile() error {
	if d.config.Schema == "" {
		return nil
	}
	text, err := os.ReadFile(d.config.Schema)
	if err == nil {
		err = d.announce(string(text))
	}
	if err != nil {
		return fmt.Errorf("%w: its schema %s: %w", config.ErrConfig, d.config.Schema, err)
	}
	return nil
}

// reroute has all devices reach what their cells serve by now.
func (n *Node) reroute() {
	for _, d := range n.listDevices() {
		if d.cells != nil {
			d.reroute()
		}
	}
}

// reroute leads the device's calls to the versions of the cells in its reach. Of
// several that serve a method the first in reach has it, and its newest version.
func (d *device) reroute() {
	d.routing.Lock()
	defer d.routing.Unlock()
	var places []place
	for _, name := range slices.Backward(d.config.Reach) {
		if c, err := d.node.find(name); err == nil {
			places = append(places, placesOf(c, c.all())...)
		}
	}
	if err := d.cells.route(places); err != nil && d.node.halt.Err() == nil {
		d.node.log.Error("what a device may call can't be routed", "device", d.name, "err", err)
	}
}

// buses are the CAN buses that devices are on.
type buses struct {
	mu sync.Mutex
	on map[string]*can.Node // by interface and own number
}

// openBus opens the interface of a device's bus; tests have a model instead.
var openBus = func(c config.Device) (can.Bus, error) {
	return can.OpenInterface(c.Bus, &can.InterfaceOptions{Node: can.NodeID(c.Own)})
}

// bus returns the bus of a device, on which the node has a number. It is opened
// for the first device on it, and anew by who comes after it was lost.
func (n *Node) bus(c config.Device) (*can.Node, error) {
	b := &n.buses
	key := fmt.Sprintf("%s %d %v", c.Bus, c.Own, c.Classic)
	b.mu.Lock()
	defer b.mu.Unlock()
	if bus := b.on[key]; bus != nil {
		return bus, nil
	}
	opened, err := openBus(c)
	if err != nil {
		return nil, err
	}
	bus, err := can.NewNode(opened, can.Config{Node: can.NodeID(c.Own), Classic: c.Classic, Backlog: -1})
	if err != nil {
		return nil, err
	}
	if b.on == nil {
		b.on = map[string]*can.Node{}
	}
	b.on[key] = bus
	n.work.Go(func() {
		_, why := bus.Accept(n.halt) // nobody is let in: it returns at the end of the bus
		b.mu.Lock()
		delete(b.on, key)
		b.mu.Unlock()
		_ = bus.Close()
		if n.halt.Err() == nil {
			n.log.Warn("bus lost", "bus", c.Bus, "why", why)
		}
	})
	return bus, nil
}
