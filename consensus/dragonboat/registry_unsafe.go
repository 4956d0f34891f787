//go:build !nodragonboat && !s390x

package dragonboat

import (
	"fmt"
	"reflect"
	"unsafe"

	raft "github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/raftio"
)

// registryOf returns where dragonboat has noted which node each replica is on. It
// shows that to nobody, except to one who brings a registry of his own, for which
// it names nodes otherwise, on disk as well. An error is for another version, which
// has its registry elsewhere.
func registryOf(nh *raft.NodeHost) (raftio.INodeRegistry, error) {
	f := reflect.ValueOf(nh).Elem().FieldByName("nodes")
	if !f.IsValid() || f.Type() != reflect.TypeFor[raftio.INodeRegistry]() || f.IsNil() {
		return nil, fmt.Errorf("consensus: this version of dragonboat keeps its members elsewhere: messages can't be judged")
	}
	return *(*raftio.INodeRegistry)(unsafe.Pointer(f.UnsafeAddr())), nil
}
