package discovery

// Warm reads what machines keep of a node, for 32 of them at a time, and returns
// something of it so that it is read. It changes nothing.
//
// It is for simulations of thousands of machines that hear the same pheromone one
// after the other: each would wait for memory four times in a row, since what it
// keeps is in no cache. Here the waits of all of them are one.
func Warm(machines []*Machine, node *ID) (read uint64) {
	const most = 32
	for len(machines) > 0 {
		some := machines[:min(most, len(machines))]
		machines = machines[len(some):]
		var places [most]int32
		for i, m := range some {
			places[i] = m.table.slots[m.table.home(node)] - 1
			read += uint64(m.next) + m.counter + uint64(m.known.at) + m.stats.Received[KindBeacon] + uint64(m.probing.at) + uint64(m.syncing.changed) + uint64(m.envelope.Known)
		}
		for i, m := range some {
			if places[i] >= 0 {
				read += uint64(m.table.ids[places[i]][0])
			}
		}
		for i, m := range some {
			if places[i] >= 0 {
				n := &m.table.members[places[i]]
				read += n.counter + uint64(n.tries)
			}
		}
	}
	return read
}
