package serial

// LineStats counts what the line did to a connection since it was made.
type LineStats struct {
	BytesIn, BytesOut uint64

	Frames uint64 // whole and right, those of the link's own among them

	// What was dropped, and why. One fault may leave several pieces behind.
	BadCOBS uint64 // ErrCOBS: a code was hit, or a delimiter was lost
	BadSize uint64 // ErrSize: a piece too short for a frame
	BadCRC  uint64 // ErrCRC
	BadForm uint64 // ErrForm or an invalid header under a right checksum: not noise
	TooLong uint64 // more than a frame may have
	Stray   uint64 // right, but of another session or of a window that is not open
	Early   uint64 // vesicles that came before the handshake was done

	// With a window.
	Duplicates uint64 // vesicles that had come before
	Overrun    uint64 // vesicles that came beyond the window, to be sent again
	Again      uint64 // vesicles that this side sent again
	Timeouts   uint64 // of those, sent because no acknowledgement came in time
	Acks       uint64 // acknowledgements that this side sent

	Hellos uint64 // that this side sent
	Echoes uint64 // hellos of this side's own that came back: the line is a loop
}

// Dropped is the sum of the counters of what was dropped.
func (s *LineStats) Dropped() uint64 {
	return s.BadCOBS + s.BadSize + s.BadCRC + s.BadForm + s.TooLong + s.Stray
}
