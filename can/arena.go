package can

import "github.com/cell-runtime/cell/wire"

// arena hands out contiguous pieces of one buffer, which come back in the
// order in which they were taken. It holds the vesicles of one direction.
type arena struct {
	buf    []byte
	pieces []piece // a circle
	first  int     // index of the oldest piece
	count  int
}

// piece is the place of one vesicle.
type piece struct {
	header  wire.Header
	payload []byte // within buf
	start   int    // in buf
	end     int
}

func newArena(size, pieces int) arena {
	return arena{buf: make([]byte, size), pieces: make([]piece, pieces)}
}

// at returns the piece that is i behind the oldest.
func (a *arena) at(i int) *piece { return &a.pieces[(a.first+i)%len(a.pieces)] }

// take reserves n bytes behind the newest piece; nil if there is no room.
// Places are multiples of 8 bytes, never empty, so that all starts differ.
func (a *arena) take(n int) *piece {
	start, ok := a.fit(n)
	if !ok {
		return nil
	}
	p := a.at(a.count)
	a.count++
	p.start, p.end = start, start+placeSize(n)
	p.payload = a.buf[start : start+n : start+n]
	return p
}

func placeSize(n int) int { return max(8, (n+7)&^7) }

// fit returns where n bytes would go.
func (a *arena) fit(n int) (start int, ok bool) {
	size := placeSize(n)
	if a.count == len(a.pieces) || size > len(a.buf) {
		return 0, false
	}
	if a.count == 0 {
		return 0, true
	}
	oldest, newest := a.at(0), a.at(a.count-1)
	if oldest.start <= newest.start { // not around the end
		if len(a.buf)-newest.end >= size {
			return newest.end, true
		}
		return 0, oldest.start >= size
	}
	return newest.end, oldest.start-newest.end >= size
}

// free gives the oldest n pieces back.
func (a *arena) free(n int) {
	a.first = (a.first + n) % len(a.pieces)
	a.count -= n
}

// drop gives the newest n pieces back.
func (a *arena) drop(n int) { a.count -= n }
