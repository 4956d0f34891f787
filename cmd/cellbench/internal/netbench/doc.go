// Package netbench measures links between two hosts: two network namespaces
// with a veth pair between them, made for the measurement and gone with it.
// Both hosts are threads of this process, each pinned to a CPU of its own.
//
// All contestants stand ready at once, each between hosts of its own, so that
// no program or socket of one is in another's way, and take turns in short
// rounds: only what lies close in time may be compared.
package netbench
