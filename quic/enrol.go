package quic

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/cell-runtime/cell/identity"
)

const (
	enrolVersion  = 1
	enrolHeadSize = 5 // status, length
	maxWords      = 1024
)

// enrol answers a node that has come to be enrolled. It holds a place among the
// handshakes meanwhile, whose bounds are its own.
func (e *Endpoint) enrol(q *quicgo.Conn) {
	ctx, cancel := context.WithTimeout(q.Context(), e.opts.HandshakeTimeout)
	defer cancel()
	s, err := q.AcceptStream(ctx)
	if err == nil {
		_ = s.SetDeadline(time.Now().Add(e.opts.HandshakeTimeout))
		err = e.answerEnrol(q, s)
	}
	if err != nil {
		e.refusals.add(q.RemoteAddr().String(), fmt.Errorf("enrolment: %w", err))
	}
	// The node closes when it has read the answer.
	<-ctx.Done()
	_ = q.CloseWithError(codeClosed, "enrolment is over")
}

func (e *Endpoint) answerEnrol(q *quicgo.Conn, s *quicgo.Stream) error {
	var version [1]byte
	if _, err := io.ReadFull(s, version[:]); err != nil {
		return err
	}
	id, evidence, err := identity.EvidenceOf(q.ConnectionState().TLS.PeerCertificates)
	if err == nil && version[0] != enrolVersion {
		err = fmt.Errorf("version %d of the protocol; this side speaks %d", version[0], enrolVersion)
	}
	var made *identity.Enrolment
	if err == nil {
		made, err = e.opts.Enrol(id, evidence)
	}
	status, body := byte(statusRefused), []byte(nil)
	if err == nil {
		status = statusAccepted
		body, err = made.MarshalBinary()
	}
	if err != nil {
		text := err.Error()
		status, body = statusRefused, []byte(text[:min(len(text), maxWords)])
	}
	out := binary.LittleEndian.AppendUint32([]byte{status}, uint32(len(body)))
	_, writeErr := s.Write(append(out, body...))
	return errors.Join(err, writeErr, s.Close())
}

// Enrol has the node of credentials c enrolled by the issuer at addr
// ("host:port"): an endpoint with Options.Enrol. The node shows a membership by
// a token, or one that it wants renewed; the issuer must be a member of the
// cluster, too. The enrolment was verified; keep it by
// identity.SaveEnrolment. ctx bounds it, and five seconds.
//
// Errors: [ErrRefused] with the issuer's words, identity's if the issuer is not
// of the cluster, [ErrHandshake].
func Enrol(ctx context.Context, addr string, c *identity.Credentials) (*identity.Enrolment, error) {
	m := c.Membership()
	if m == nil {
		return nil, fmt.Errorf("%w: a node is enrolled by a token, or by the membership that it has", identity.ErrUnknown)
	}
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("%w: no answer within %v", ErrHandshake, patience))
	defer cancel()
	made, err := enrol(ctx, addr, c, m.Cluster)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w; is there a node that enrols (cellnode token serve, or network.enrol), and does UDP get through to it?", context.Cause(ctx))
		}
		return nil, fmt.Errorf("quic: enrolling at %s: %w", addr, explainEnrol(err))
	}
	return made, nil
}

func enrol(ctx context.Context, addr string, c *identity.Credentials, cluster identity.ClusterID) (*identity.Enrolment, error) {
	trust := &identity.Trust{}
	if err := trust.SetCluster(cluster); err != nil {
		return nil, err
	}
	at, err := resolve(ctx, addr)
	if err != nil {
		return nil, err
	}
	socket, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	transport := &quicgo.Transport{Conn: socket}
	defer transport.Close()
	q, err := transport.Dial(ctx, at, identity.ClientTLS(c, trust, identity.ID{}, ALPNEnrol), &quicgo.Config{})
	if err != nil {
		return nil, err
	}
	defer func() { _ = q.CloseWithError(codeClosed, "") }()
	s, err := q.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { s.CancelRead(streamCancel) })
	defer stop()
	if _, err := s.Write([]byte{enrolVersion}); err != nil {
		return nil, err
	}
	return readEnrolment(s, cluster, c.ID(), time.Now())
}

// readEnrolment reads an issuer's answer and verifies it.
func readEnrolment(r io.Reader, cluster identity.ClusterID, node identity.ID, now time.Time) (*identity.Enrolment, error) {
	var head [enrolHeadSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(head[1:])
	most := uint32(maxWords)
	if head[0] == statusAccepted {
		most = identity.MaxEnrolment
	}
	if n > most {
		return nil, fmt.Errorf("%w: an answer of %d bytes", identity.ErrStatement, n)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	if head[0] != statusAccepted {
		return nil, fmt.Errorf("%w: %s", ErrRefused, printable(body))
	}
	made := &identity.Enrolment{}
	if err := made.UnmarshalBinary(body); err != nil {
		return nil, err
	}
	return made, made.Verify(cluster, node, now)
}

// noProtocol is TLS's alert no_application_protocol (RFC 7301) as QUIC has it.
const noProtocol = 0x100 + 120

func explainEnrol(err error) error {
	var lower *quicgo.TransportError
	if errors.As(err, &lower) && uint64(lower.ErrorCode) == noProtocol {
		return fmt.Errorf("%w: this node enrols nobody; that is done where the cluster's key lies", ErrRefused)
	}
	for _, known := range []error{identity.ErrStatement, identity.ErrExpired, identity.ErrRevoked, identity.ErrUnknown} {
		if errors.Is(err, known) {
			return err
		}
	}
	return explain(err)
}
