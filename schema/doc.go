// Package schema is how Cell describes services: the model of types and
// methods, its canonical text, the layout of messages in memory, and the
// fingerprints by which callers and servers know that they mean the same.
// docs/SCHEMA.md specifies all of it; testdata/schema.json has golden vectors
// for implementations in other languages.
//
//   - [Parse] and [Print] read and write descriptions, NAME.cell;
//   - [LayoutOf] and [RootLayout] say where things lie;
//   - [Identity], [Fingerprint] and [Digest] say what a method or service is;
//   - [Compare], [Diff] and [Inherit] say what became of it in another version;
//   - [Codec] reads and writes messages of any description, as values or JSON.
//
// Everything here may be fed with what strangers wrote: input is bounded and
// never panics. Nothing here is fast; generated code and package schema/view
// are.
package schema
