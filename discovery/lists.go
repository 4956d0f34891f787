package discovery

import (
	"context"
	"fmt"
	"sync"
)

// maxLists bounds lists of services that are remembered.
const maxLists = 1024

// listCache remembers lists of services that were fetched, by digest.
type listCache struct {
	mu    sync.Mutex
	lists map[ServiceList][]Service
}

// Services returns a peer's services: those of its beacon, or the list that the
// beacon names, which is fetched the first time. Errors: [ErrBody], those of the
// [Fetcher].
func (a *Agent) Services(ctx context.Context, p *Peer) ([]Service, error) {
	if p.Beacon == nil || p.Beacon.Listed.Count == 0 {
		if p.Beacon == nil {
			return nil, nil
		}
		return p.Beacon.Services, nil
	}
	l := p.Beacon.Listed
	if s, ok := a.lists.get(l); ok {
		return s, nil
	}
	if a.o.Fetch == nil {
		return nil, fmt.Errorf("discovery: node %s has %d services, too many for its beacon, and there is no link to fetch their list over; set Options.Fetch", p.ID.Short(), l.Count)
	}
	encoded, err := a.o.Fetch.FetchServices(ctx, *p, l)
	if err != nil {
		return nil, fmt.Errorf("discovery: the services of node %s: %w", p.ID.Short(), err)
	}
	services, err := l.Open(encoded)
	if err != nil {
		return nil, err
	}
	a.lists.put(l, services)
	return services, nil
}

func (c *listCache) get(l ServiceList) ([]Service, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, ok := c.lists[l]
	return s, ok
}

func (c *listCache) put(l ServiceList, s []Service) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lists == nil || len(c.lists) >= maxLists {
		c.lists = make(map[ServiceList][]Service) // they can be fetched again
	}
	c.lists[l] = s
}

// Fetched reports whether [Agent.Services] has a peer's services without having
// to fetch them.
func (a *Agent) Fetched(p *Peer) bool {
	if p.Beacon == nil || p.Beacon.Listed.Count == 0 {
		return true
	}
	_, ok := a.lists.get(p.Beacon.Listed)
	return ok
}

// SameHost reports whether a peer says that it runs on this host.
func (a *Agent) SameHost(p *Peer) bool {
	return p.Beacon != nil && p.Beacon.Host == a.o.Host && a.o.Host != [8]byte{}
}
