// Package gosrc is cellgen's Go front end: it reads services out of a Go file,
// an interface marked //cell:service with the structs it uses, and makes the
// schema of them. It parses with the standard library, needs no package to be
// built or even to compile, and refuses what a schema can't say with the place
// and with what to write instead.
package gosrc
