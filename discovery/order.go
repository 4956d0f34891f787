package discovery

import (
	"slices"
	"sort"
)

// order is the places of living nodes heard directly, by ID. Who joins it waits
// behind the others until somebody asks for the order: when thousands start at
// once, each would have to move half of those that are there.
type order struct {
	places []int32
	sorted int // of places; those behind came since
}

// near returns the places in any order.
func (t *table) near() []int32 { return t.order.places }

// nearByID returns the places by ID.
func (t *table) nearByID() []int32 {
	o := &t.order
	if o.sorted == len(o.places) {
		return o.places
	}
	late := slices.Clone(o.places[o.sorted:])
	slices.SortFunc(late, func(a, b int32) int { return compare(&t.ids[a], &t.ids[b]) })
	// From the last one on, so that each place moves once.
	for end, k := o.sorted, len(late)-1; k >= 0; k-- {
		i := t.search(o.places[:end], &t.ids[late[k]])
		copy(o.places[i+k+1:], o.places[i:end])
		o.places[i+k] = late[k]
		end = i
	}
	o.sorted = len(o.places)
	return o.places
}

// search returns where id is, or would be, among places that are sorted.
func (t *table) search(places []int32, id *ID) int {
	return sort.Search(len(places), func(i int) bool { return compare(&t.ids[places[i]], id) >= 0 })
}

// reorder takes a place into the order, or out of it.
func (t *table) reorder(place int32, in bool) {
	o := &t.order
	if in {
		o.places = append(o.places, place)
		return
	}
	i := t.search(t.nearByID(), &t.ids[place])
	o.places = slices.Delete(o.places, i, i+1)
	o.sorted--
}
