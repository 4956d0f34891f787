package quic

import (
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// pulse ends a TCP connection whose peer acknowledges nothing any more.
// Keep-alives (RFC 9293, 3.8.4) do that while nothing is on its way.
// TCP_USER_TIMEOUT (RFC 5482) would do it otherwise, but Linux counts a peer
// that announces no window among the silent, and a peer that does not read for
// a while is back-pressure. What tells them apart is whether probes and
// repetitions are answered (tcp_info).
type pulse struct {
	conn  *net.TCPConn
	most  time.Duration // without an acknowledgement of what was sent
	gone  func()
	mu    sync.Mutex
	timer *time.Timer
	over  bool
}

// unanswered is how many probes or repetitions in a row are no accident.
const unanswered = 2

func (p *pulse) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		p.timer = time.AfterFunc(p.most/3, p.feel)
	}
}

func (p *pulse) feel() {
	if p.silent() {
		p.gone()
		return
	}
	p.begin()
}

// silent reports whether something was sent again and again without an answer
// for too long.
func (p *pulse) silent() bool {
	raw, err := p.conn.SyscallConn()
	if err != nil {
		return false
	}
	var info *unix.TCPInfo
	if raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }) != nil || err != nil {
		return false // closed; whoever reads is told
	}
	return time.Duration(info.Last_ack_recv)*time.Millisecond > p.most &&
		(info.Retransmits >= unanswered || info.Probes >= unanswered)
}

func (p *pulse) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	if p.timer != nil {
		p.timer.Stop()
	}
}
