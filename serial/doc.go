// Package serial carries vesicles over a byte stream that may lose, change and
// invent bytes: UARTs, USB CDC, PTYs, and sockets to such things.
//
//	port, err := serial.Open("/dev/ttyACM0", serial.Mode{Baud: 921600})
//	conn, err := serial.Connect(ctx, port, nil)
//
// or, in one call that waits for a device to be plugged in, [Dial]. The result
// is a [link.Link]; the other end is this package again or the C header in
// firmware/.
//
// Each vesicle travels as one frame: a delimiter, the vesicle under COBS (so
// that no byte of it is zero) with a CRC behind it, and a delimiter. Whatever
// noise does, the next delimiter begins anew; [LineStats] says what was dropped
// and why. The header of 20 bytes takes 13 to 17 on the line and comes out
// bit-identical. docs/SERIAL.md is the specification; testdata/serial.json has
// vectors for it that every implementation is tested against.
//
// A noisy line loses vesicles, and says so by Info().Reliable = false. With
// [Options].Window both sides keep what they sent until the other has it
// (a sliding window with selective acknowledgement), and nothing is lost.
package serial
