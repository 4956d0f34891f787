package kernelvm

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os/exec"
)

// The fields of a bzImage that lead to the compressed kernel within
// (Documentation/arch/x86/boot.rst).
const (
	offSetupSectors = 0x1f1
	offPayload      = 0x248
	offPayloadSize  = 0x24c
	sector          = 512
)

// uncompress returns the ELF image within a bzImage.
func uncompress(ctx context.Context, image []byte) ([]byte, error) {
	if len(image) < offPayloadSize+4 {
		return nil, errors.New("too short for a bzImage")
	}
	sectors := int(image[offSetupSectors])
	if sectors == 0 {
		sectors = 4 // the documented meaning of 0
	}
	begin := (sectors+1)*sector + int(binary.LittleEndian.Uint32(image[offPayload:]))
	size := int(binary.LittleEndian.Uint32(image[offPayloadSize:]))
	if size < 4 || begin+size > len(image) {
		return nil, errors.New("not a bzImage: its payload lies outside")
	}
	payload := image[begin : begin+size]
	var program []string
	switch {
	case bytes.HasPrefix(payload, []byte("\xfd7zXZ\x00")):
		program = []string{"xz", "-dc", "--single-stream"}
	case bytes.HasPrefix(payload, []byte("\x28\xb5\x2f\xfd")):
		program = []string{"zstd", "-dcq"}
	default:
		return nil, fmt.Errorf("compressed by something that is neither xz nor zstd (% x)", payload[:6])
	}
	if _, err := exec.LookPath(program[0]); err != nil {
		return nil, fmt.Errorf("%w: %s; apt-get install xz-utils zstd", ErrMissing, program[0])
	}
	c := exec.CommandContext(ctx, program[0], program[1:]...)
	c.Stdin = bytes.NewReader(payload)
	// The payload ends in four bytes of length, at which the program complains
	// when it has written everything.
	out, err := c.Output()
	if !bytes.HasPrefix(out, []byte("\x7fELF")) {
		return nil, fmt.Errorf("%s: %w: no ELF image came out", program[0], err)
	}
	return out, nil
}
