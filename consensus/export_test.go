package consensus

// Begun is how many commands of s were begun.
func (s *Session) Begun() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int(s.next)
}
