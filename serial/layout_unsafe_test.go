package serial

import (
	"testing"
	"unsafe"
)

// The kernel's structures on 64-bit systems (include/uapi/linux/serial.h).
func TestKernelStructures(t *testing.T) {
	if got := unsafe.Sizeof(serialStruct{}); got != 72 {
		t.Errorf("struct serial_struct has %d bytes, want 72", got)
	}
	if got := unsafe.Offsetof(serialStruct{}.flags); got != 16 {
		t.Errorf("its flags are at %d, want 16", got)
	}
	if got := unsafe.Sizeof(serialRS485{}); got != 32 {
		t.Errorf("struct serial_rs485 has %d bytes, want 32", got)
	}
	k := (&RS485{RTSOnSend: true, DelayBefore: 1, DelayAfter: 2, Echo: true, TerminateBus: true}).kernel()
	if k.flags != rs485Enabled|rs485RTSOnSend|rs485RxDuringTx|rs485Terminate || k.delayBefore != 1 || k.delayAfter != 2 {
		t.Errorf("%+v", k)
	}
	if k := (&RS485{}).kernel(); k.flags != rs485Enabled|rs485RTSAfterSend {
		t.Errorf("%+v", k)
	}
}
