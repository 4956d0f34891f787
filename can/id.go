package can

import "fmt"

// ID is a 29-bit identifier. Lower ones win arbitration:
//
//	28    26 25   23 22      16 15       9 8          0
//	┌───────┬───────┬──────────┬──────────┬────────────┐
//	│prior. │class  │to        │from      │detail      │
//	└───────┴───────┴──────────┴──────────┴────────────┘
//	 3       3       7          7          9 bits
//
// Two nodes never send the same identifier at once, since it holds the sender.
type ID uint32

// The widths of the fields, from the right.
const (
	detailBits   = 9
	nodeBits     = 7
	classBits    = 3
	priorityBits = 3

	fromShift     = detailBits
	toShift       = fromShift + nodeBits
	classShift    = toShift + nodeBits
	priorityShift = classShift + classBits

	detailMask = 1<<detailBits - 1
	nodeMask   = 1<<nodeBits - 1
	idMask     = 1<<(priorityShift+priorityBits) - 1
)

// The fields fill 29 bits: it must fail to compile if not.
var _ = [1]struct{}{}[priorityShift+priorityBits-29]

// NodeID is a node's number on its bus.
type NodeID uint8

const (
	// MaxNode is the highest number of a node.
	MaxNode NodeID = 126
	// Everyone is the destination of frames for all nodes. Nobody sends as it.
	Everyone NodeID = 127
)

// Class is the message class of a frame.
type Class uint8

// The classes. Those from ClassRequest to ClassCredit are whole vesicles of
// that kind in one frame with a short header.
const (
	ClassControl Class = 0 // the protocol's own: hello, flow control, farewell
	ClassRequest Class = 1
	ClassReply   Class = 2
	ClassEvent   Class = 3
	ClassItem    Class = 4 // of a stream
	ClassCredit  Class = 5
	ClassStart   Class = 6 // any vesicle, or its first part
	ClassNext    Class = 7 // a further part
)

var classNames = [...]string{"control", "request", "reply", "event", "item", "credit", "start", "next"}

func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return fmt.Sprintf("class %d", uint8(c))
}

// MakeID composes an identifier. Of each argument only the bits count for
// which there is room.
func MakeID(priority uint8, class Class, to, from NodeID, detail uint16) ID {
	return ID(priority)&7<<priorityShift | ID(class)&7<<classShift |
		ID(to)&nodeMask<<toShift | ID(from)&nodeMask<<fromShift | ID(detail)&detailMask
}

// Priority returns the priority: 0 is the most urgent, 7 the least. Data of a
// vesicle with header priority p has 7-2p, and flow control for it 6-2p.
func (id ID) Priority() uint8 { return uint8(id>>priorityShift) & 7 }

// Class returns the message class.
func (id ID) Class() Class { return Class(id>>classShift) & 7 }

// To returns the destination, which may be Everyone.
func (id ID) To() NodeID { return NodeID(id>>toShift) & nodeMask }

// From returns the sender.
func (id ID) From() NodeID { return NodeID(id>>fromShift) & nodeMask }

// Detail returns the lowest 9 bits, which each class uses in its own way.
func (id ID) Detail() uint16 { return uint16(id) & detailMask }

func (id ID) String() string {
	return fmt.Sprintf("p%d %v %d→%d %03x", id.Priority(), id.Class(), id.From(), id.To(), id.Detail())
}

// The identifier's priority of data and of control frames, from the two
// priority bits of a header.
func dataPriority(header uint8) uint8    { return 7 - 2*(header&3) }
func controlPriority(header uint8) uint8 { return 6 - 2*(header&3) }

// headerPriority is the inverse of dataPriority; ok is false for a priority
// that data can't have.
func headerPriority(id uint8) (p uint8, ok bool) { return (7 - id) / 2, id&1 == 1 }
