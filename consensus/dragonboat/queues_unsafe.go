//go:build !nodragonboat && !s390x

package dragonboat

import _ "unsafe" // for go:linkname

// dragonboat takes 1.1 MiB for each group's queues, and can be told otherwise
// only by a file in the directory where the process runs. These are its variables
// (package dragonboat, nodehost.go and node.go), set before a host is made. Should
// they be called otherwise in another version, groups take more memory, which
// TestAGroupTakesLittleMemory notices.

// receiveQueueLen is how many messages of other replicas wait for a group at most,
// 320 bytes each, twice. What is beyond is lost, and sent again.
//
//go:linkname receiveQueueLen github.com/lni/dragonboat/v4.receiveQueueLen
var receiveQueueLen uint64

// incomingProposalsMaxLen is how many proposals wait to be begun, 80 bytes each,
// twice. Who has more under way hears that the group is busy.
//
//go:linkname incomingProposalsMaxLen github.com/lni/dragonboat/v4.incomingProposalsMaxLen
var incomingProposalsMaxLen uint64

// incomingReadIndexMaxLen is how many reads wait to be begun. Those of a group
// share a question to the leader, so there are hardly ever two.
//
//go:linkname incomingReadIndexMaxLen github.com/lni/dragonboat/v4.incomingReadIndexMaxLen
var incomingReadIndexMaxLen uint64

// pendingProposalShards is in how many maps, each with a lock, a group's proposals wait
// for their results. Every one is gone through at every tick, also at rest: with 16, and
// 256 groups, a sixth of what the process takes.
//
//go:linkname pendingProposalShards github.com/lni/dragonboat/v4.pendingProposalShards
var pendingProposalShards uint64

func init() {
	pendingProposalShards = 4
	receiveQueueLen = 256
	incomingProposalsMaxLen = 1024
	incomingReadIndexMaxLen = 256
}
