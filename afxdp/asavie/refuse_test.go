package asavie

import (
	"errors"
	"strings"
	"testing"

	"github.com/cell-runtime/cell/afxdp/xsk"
)

// Each wish that the library can't fulfil has its own reason; what is left out
// instead is not refused.
func TestRefusals(t *testing.T) {
	for _, v := range []struct {
		name   string
		u      xsk.UmemOptions
		c      xsk.Config
		queues []uint32
		says   string // "": is taken
	}{
		{"one queue", xsk.UmemOptions{Headroom: 6, HugePages: true}, xsk.Config{NeedWakeup: true}, []uint32{0}, ""},
		{"two queues", xsk.UmemOptions{}, xsk.Config{}, []uint32{0, 1}, "several queues"},
		{"zero-copy", xsk.UmemOptions{}, xsk.Config{Copying: xsk.CopyNever}, []uint32{0}, "zero-copy"},
		{"a socket that was handed over", xsk.UmemOptions{}, xsk.Config{FD: 3}, []uint32{0}, "handed over"},
		{"metadata", xsk.UmemOptions{Metadata: xsk.MetadataSize}, xsk.Config{}, []uint32{0}, "metadata"},
		{"packets over several frames", xsk.UmemOptions{}, xsk.Config{MultiBuffer: true}, []uint32{0}, "several frames"},
	} {
		err := refuse(&v.u, &v.c, v.queues)
		if v.says == "" && err != nil || v.says != "" && (!errors.Is(err, xsk.ErrNotSupported) || !strings.Contains(err.Error(), v.says)) {
			t.Errorf("%s: %v", v.name, err)
		}
	}
}
