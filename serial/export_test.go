package serial

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/cell-runtime/cell/link"
)

// Vanish ends what this side does, as SIGKILL would, without a farewell.
func (c *Conn) Vanish() {
	c.line.mu.Lock()
	c.line.gone = link.ErrClosed
	c.line.mu.Unlock()
	if c.window != nil {
		c.window.shutdown()
		<-c.window.done
	}
}

// HelloOfVersion is a hello of some other version's.
func HelloOfVersion(version byte) []byte {
	return helloOf(hello{version: version, session: 1, maxPayload: 64})
}

// HelloOfPayload is a hello of somebody who takes so many bytes.
func HelloOfPayload(n uint32) []byte {
	return helloOf(hello{version: lineVersion, session: 1, maxPayload: n})
}

func helloOf(h hello) []byte {
	body := make([]byte, helloSize+crc32Size)
	h.put((*[helloSize]byte)(body))
	line := make([]byte, FrameBound(helloSize)+cobsSlack)
	return line[:encodeBody(line, body, helloSize)]
}

// Speed asks the driver for the baud rate.
func (p *Port) Speed() (int, error) {
	raw, err := p.SyscallConn()
	if err != nil {
		return 0, err
	}
	var t *unix.Termios
	if e := raw.Control(func(fd uintptr) { t, err = unix.IoctlGetTermios(int(fd), unix.TCGETS2) }); e != nil || err != nil {
		return 0, errors.Join(e, err)
	}
	return int(t.Ospeed), nil
}
