package config_test

import (
	"strings"
	"testing"
)

// Devices that exclude each other are refused when the node's configuration is
// read, not when the second of them is called.
func TestDevicesThatExcludeEachOther(t *testing.T) {
	can := func(name, more string) string {
		return "[devices." + name + "]\nlink = \"can\"\nbus = \"can0\"\n" + more + "\n"
	}
	for _, v := range []struct {
		name, text, said string
	}{
		{"one number of the node, classic and FD", can("a", "number = 5\nown = 1\nclassic = true") + can("b", "number = 6\nown = 1"),
			"devices.b.classic: false here, but true for device a"},
		{"both classic", can("a", "number = 5\nown = 1\nclassic = true") + can("b", "number = 6\nown = 1\nclassic = true"), ""},
		{"two numbers of the node", can("a", "number = 5\nown = 1\nclassic = true") + can("b", "number = 6\nown = 2"), ""},
		{"two buses", can("a", "number = 5\nown = 1\nclassic = true") + "[devices.b]\nlink = \"can\"\nbus = \"can1\"\nnumber = 5\nown = 1\n", ""},
		{"one of them is off", can("a", "number = 5\nown = 1\nclassic = true\ndisabled = true") + can("b", "number = 6\nown = 1"), ""},
		{"one device twice", can("a", "number = 5\nown = 1") + can("b", "number = 5\nown = 2"), "devices.b.number: 5 on can0 is device a"},
		{"a device with a number of the node", can("a", "number = 5\nown = 1") + can("b", "number = 1\nown = 2"), "devices.b.own"},
		{"the node with a number of a device", can("a", "number = 5\nown = 1") + can("b", "number = 6\nown = 5"), "devices.b.own"},
		{"one line twice", "[devices.a]\nlink = \"serial\"\npath = \"/dev/ttyS1\"\n[devices.b]\nlink = \"serial\"\npath = \"/dev/ttyS1\"\n",
			"devices.b.path: /dev/ttyS1 is the line of device a"},
		{"two lines", "[devices.a]\nlink = \"serial\"\npath = \"/dev/ttyS1\"\n[devices.b]\nlink = \"serial\"\npath = \"/dev/ttyS2\"\n", ""},
	} {
		t.Run(v.name, func(t *testing.T) {
			_, _, err := load(t, v.text, nil, nil)
			switch {
			case v.said == "" && err != nil:
				t.Error(err)
			case v.said != "" && (err == nil || !strings.Contains(err.Error(), v.said)):
				t.Errorf("%v does not say %q", err, v.said)
			}
		})
	}
}
