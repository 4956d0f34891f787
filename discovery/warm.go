package discovery

// Warm reads what machines keep of a node, for 32 of them at a time, and returns
// something of it so that it is read. It changes nothing.
//
// It is for simulations of thousands of machines that hear the same pheromone one
// after the other: each would wait for memory a dozen times in a row, since what it
// keeps is in no cache. Here the waits of all of them are two.
func Warm(machines []*Machine, node *ID) (read uint64) {
	const most = 32
	for len(machines) > 0 {
		some := machines[:min(most, len(machines))]
		machines = machines[len(some):]
		var places [most]int32
		for i, m := range some {
			places[i] = m.table.slots[m.table.home(node)] - 1
			read += m.warm()
		}
		for i, m := range some {
			if places[i] >= 0 {
				read += uint64(m.table.ids[places[i]][0]) + m.table.members[places[i]].counter
			}
		}
	}
	return read
}

// warm reads something of each cache line of a machine that a beacon makes it look
// at.
func (m *Machine) warm() (read uint64) {
	read = uint64(m.c.Node[0]) + uint64(m.c.Timing.MaxSkew) + uint64(m.c.Limits.VerifyKnown) + uint64(m.opener.cluster[0]) +
		uint64(m.table.hash) + m.stats.Received[KindBeacon] + uint64(m.next) + uint64(m.envelope.Kind) + uint64(m.envelope.Known) +
		m.counter + uint64(m.known.at) + uint64(m.announcing.number) + uint64(m.probing.at) + uint64(m.syncing.changed)
	if m.c.Client || m.in.Group || m.c.Trust == nil {
		read++
	}
	return read
}
