package capsid

// group is the control groups of one cell; nil is none.
type group struct {
	dirs []string
}

func (g *group) join(int) error   { return nil }
func (g *group) kill()            {}
func (g *group) read(*Usage) bool { return false }
func (g *group) remove() error    { return nil }
