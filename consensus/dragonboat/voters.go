//go:build !nodragonboat && !s390x

package dragonboat

import (
	"sync"
	"time"

	raft "github.com/lni/dragonboat/v4"

	"github.com/cell-runtime/cell/consensus"
)

// votersAge is how old what [consensus.Status] says of members may be.
const votersAge = 100 * time.Millisecond

// voters are the members of all groups, as this node knows them. dragonboat only
// tells of all its groups at once, so what it says is kept for a moment: with
// hundreds of groups, somebody who looks at each of them would have it tell of
// all of them hundreds of times.
type voters struct {
	mu    sync.Mutex
	at    time.Time
	all   map[uint64][]consensus.Member // by shard; never changed
	ended bool
}

// end has later calls say what was known last: dragonboat takes itself apart while
// it closes, and must not be asked any more.
func (v *voters) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ended = true
}

func (v *voters) of(nh *raft.NodeHost, shard uint64) []consensus.Member {
	v.mu.Lock()
	defer v.mu.Unlock()
	if known := v.all[shard]; v.ended || len(known) > 0 && time.Since(v.at) < votersAge {
		return known
	}
	info := nh.GetNodeHostInfo(raft.NodeHostInfoOption{SkipLogInfo: true})
	if info == nil {
		return nil
	}
	v.all, v.at = make(map[uint64][]consensus.Member, len(info.ShardInfoList)), time.Now()
	for i := range info.ShardInfoList {
		s := &info.ShardInfoList[i]
		v.all[s.ShardID] = members(s.Replicas, nil, nil)
	}
	return v.all[shard]
}
