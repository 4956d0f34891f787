// Package schema is how Cell describes services: the model of types and
// methods, its canonical text, the layout of messages in memory, and the
// fingerprints by which callers and servers know that they mean the same.
package schema
