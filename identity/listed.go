package identity

// Standing says quickly what is known of an id without any evidence: whether it
// is refused whatever it shows, let in whatever it shows, or, if neither, may be
// let in if it shows the right thing. It allocates nothing and verifies nothing,
// so it can be asked about whoever merely claims an id.
func (t *Trust) Standing(id ID) (revoked, allowed, open bool) {
	r := t.current()
	if r.isRevoked(id) {
		return true, false, false
	}
	return false, r.isAllowed(id), !r.clusterID().IsZero() || r.authority() != nil
}
