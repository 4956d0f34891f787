package config

import (
	"path/filepath"
	"slices"

	"github.com/cell-runtime/cell/uds"
)

// Device is what is on a line or a bus: it is called under its name like a cell,
// and may call cells.
type Device struct {
	Link string `toml:"link"` // serial or can

	Path     string `toml:"path"`     // serial: the tty
	Baud     int    `toml:"baud"`     // serial: bits a second; 0: 115200
	RTSCTS   bool   `toml:"rtscts"`   // serial: hardware flow control
	Bus      string `toml:"bus"`      // can: the interface
	Number   int    `toml:"number"`   // can: the device's number on the bus
	Own      int    `toml:"own"`      // can: the node's own number there
	Classic  bool   `toml:"classic"`  // can: no FD frames
	Schema   string `toml:"schema"`   // what it serves; without it the device is asked
	Disabled bool   `toml:"disabled"` // it is not connected to

	Reach []string `toml:"reach"` // cells that it may call, the first that serves a method; empty: none
	Users []uint32 `toml:"users"` // who may call it; empty: the node's own user
}

// maxCANNode is the highest number on a bus.
const maxCANNode = 126

// maxDevices bounds how many devices a node has.
const maxDevices = 256

func (c Config) checkDevices(bad func(key, format string, args ...any)) {
	if len(c.Devices) > maxDevices {
		bad("devices", "%d of them, at most %d may be", len(c.Devices), maxDevices)
	}
	for _, name := range sortedKeys(c.Devices) {
		key, d := "devices."+name, c.Devices[name]
		if err := uds.ValidateName(name); err != nil {
			bad(key, "%v", err)
		}
		if _, taken := c.Cells[name]; taken || Reserved(name) {
			bad(key, "the name is taken, by a cell or the node itself (%s, %s, %s…); choose another", OpsName, RaftName, RaftPrefix)
		}
		for _, cell := range d.Reach {
			if _, known := c.Cells[cell]; !known {
				bad(key+".reach", "there is no cell %q; there are %v", cell, sortedKeys(c.Cells))
			}
		}
		d.check(key, bad)
	}
	c.checkShared(bad)
}

// checkShared refuses devices that can't be connected to beside each other: a tty
// is one device's, and so is a number on a bus; and devices for which the node has
// the same number there share its way to speak.
func (c Config) checkShared(bad func(key, format string, args ...any)) {
	names := slices.DeleteFunc(sortedKeys(c.Devices), func(name string) bool { return c.Devices[name].Disabled })
	for i, name := range names {
		d := c.Devices[name]
		for _, before := range names[:i] {
			o, key := c.Devices[before], "devices."+name
			switch {
			case d.Link != o.Link:
			case d.Link == "serial" && d.Path == o.Path && d.Path != "":
				bad(key+".path", "%s is the line of device %s: disable one of them", d.Path, before)
			case d.Link != "can" || d.Bus != o.Bus:
			case d.Number == o.Number:
				bad(key+".number", "%d on %s is device %s: give the devices numbers of their own, or disable one", d.Number, d.Bus, before)
			case d.Number == o.Own || d.Own == o.Number:
				bad(key+".own", "on %s the node has a number (own) that is that of a device, there between %s and this one: they must differ", d.Bus, before)
			case d.Own == o.Own && d.Classic != o.Classic:
				bad(key+".classic", "%t here, but %t for device %s with the same number of the node (own = %d) on %s: make them equal, or give the node another number for one of them", d.Classic, o.Classic, before, d.Own, d.Bus)
			}
		}
	}
}

func (d Device) check(key string, bad func(key, format string, args ...any)) {
	oneOf(bad, key+".link", d.Link, "serial", "can")
	if d.Schema != "" && !filepath.IsAbs(d.Schema) {
		bad(key+".schema", "%q is not an absolute path", d.Schema)
	}
	foreign := map[string]bool{}
	switch d.Link {
	case "serial":
		if !filepath.IsAbs(d.Path) {
			bad(key+".path", "%q is not the absolute path of a tty, such as one below /dev/serial/by-id", d.Path)
		}
		if d.Baud < 0 {
			bad(key+".baud", "%d is no speed", d.Baud)
		}
		foreign = map[string]bool{"bus": d.Bus != "", "number": d.Number != 0, "own": d.Own != 0, "classic": d.Classic}
	case "can":
		if d.Bus == "" {
			bad(key+".bus", "name the interface, such as can0")
		}
		if d.Number == d.Own || min(d.Number, d.Own) < 0 || max(d.Number, d.Own) > maxCANNode {
			bad(key+".number", "%d is the device's and %d the node's number on the bus (own): they must differ and be 0 to %d", d.Number, d.Own, maxCANNode)
		}
		foreign = map[string]bool{"path": d.Path != "", "baud": d.Baud != 0, "rtscts": d.RTSCTS}
	}
	var names []string
	for name, set := range foreign {
		if set {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		bad(key+"."+name, "link %q has no such setting", d.Link)
	}
}
