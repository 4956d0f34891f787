// Package gatewayserial is an example: see README.md. The programs are in
// gateway and client.
package gatewayserial
