// Package ring moves vesicles between processes of one host through sealed
// shared memory, without locks and, while both sides are awake, without system
// calls.
//
// Three shapes share one memory format ([Create], [Attach]):
//
//   - SPSC ([Producer], [Consumer]): one writer, one reader. The unit of
//     isolation: every pair of peers has one per direction, and a peer that
//     dies or misbehaves harms nobody else.
//   - MPSC ([SharedProducer], [SharedConsumer]): many writers that trust each
//     other, one reader.
//   - Broadcast ([Publisher], [Subscriber]): one writer that never waits, any
//     number of readers, each of which notices when it was lapped and counts
//     what it lost.
//
// Claim returns places in the ring, the caller writes payloads there, Commit
// seals each with its header, and one Flush publishes everything committed
// since the last. Poll hands out the reader's side of the same memory, and
// Release gives it back. Nothing is copied by the ring.
//
// # Memory ordering
//
// Three edges carry the whole protocol; docs/RING.md argues each for amd64 and
// arm64.
//
//   - Publication: everything written into a batch of records happens before
//     the release store of the batch's first commit word; the reader's acquire
//     load of that word happens before its reads of the batch.
//   - Return: the reader's last read of a record happens before its release
//     store of the cursor; the writer's acquire load of the cursor happens
//     before it writes there again.
//   - Sleep: a side that arms its flag and then looks again, and a side that
//     publishes and then looks at the flag, must not both miss each other. It
//     is the one edge that needs a full fence (see sleep.go).
//
// # Trust
//
// The peer may write anything anywhere in the shared memory at any time. Each
// shared word is read once into a local, bounded, then used; a breach ends in
// [ErrCorrupt], never in a panic or an access outside the mapping. What a peer
// can still do is change payload bytes after they were polled: copy before
// validating, or validate nothing.
package ring
