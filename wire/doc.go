// Package wire is the format that every link of Cell carries: the 20-byte
// header of a vesicle, the numbered statuses, and the payload of an error.
//
// A vesicle is one header and its payload. The header is little endian on
// every host and every link:
//
//	0        4                 12       16 17 18 19 20
//	┌────────┬─────────────────┬────────┬──┬──┬──┬──┐
//	│length  │fingerprint      │correl. │vk│fl│ch│ho│ payload …
//	└────────┴─────────────────┴────────┴──┴──┴──┴──┘
//	u32      u64               u32      u8 ×4
//
// The package allocates nothing, uses no unsafe code and needs nothing beyond
// encoding/binary and errors, so that firmware tools and generators can lean
// on it. testdata/header.json at the root of the repository holds golden
// vectors against which every implementation, in any language, is tested.
package wire
