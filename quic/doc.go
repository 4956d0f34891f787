// Package quic carries vesicles between hosts: over QUIC (RFC 9000, by
// quic-go), and over TLS on TCP for bulk, behind the same link.
//
// An [Endpoint] is one UDP socket that listens and dials. Both sides prove
// their node keys by mutual TLS 1.3 and are let in by an identity.Trust; there
// is nothing to configure beyond that. Between two endpoints there is one
// connection, which all of their links share. A [Link] is a link.Link: it
// passes link/linktest, and engine and rpc work over it unchanged.
//
// The vesicles of a link travel in lanes, each a QUIC stream that lasts as long
// as the link: one for consensus, one for operations and discovery, and several
// for the application, among which its calls are spread. So a lost packet holds
// up the calls of one lane and no others, and no call pays for opening a
// stream. Vesicles of one call, or of one topic, keep their order. With one
// lane all vesicles do.
//
// docs/QUIC.md has the protocol, the bounds and what was measured.
package quic
