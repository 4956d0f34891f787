// Package gogen is cellgen's Go generator: from a schema, and from nothing
// else of the source that it came from, it writes views, builders and codecs
// of the messages, and clients and servers of the services.
package gogen
