// Package device is the service of the demo board in firmware/demo, as Go
// programs call it.
package device

//go:generate go run ../../../cmd/cellgen device.cell
