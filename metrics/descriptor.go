package metrics

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"unicode/utf8"
)

// Kind says what an instrument is.
type Kind uint32

// The kinds. A [SharedCounter] is a counter to a reader.
const (
	KindCounter   Kind = 1
	KindGauge     Kind = 2
	KindHistogram Kind = 3
)

// String returns the kind as Prometheus calls it.
func (k Kind) String() string {
	switch k {
	case KindCounter:
		return "counter"
	case KindGauge:
		return "gauge"
	case KindHistogram:
		return "histogram"
	}
	return fmt.Sprintf("kind %d", uint32(k))
}

// Label tells instruments of one name apart.
type Label struct {
	Name, Value string
}

// L is short for Label{Name: name, Value: value}.
func L(name, value string) Label { return Label{Name: name, Value: value} }

// WriterLabel is the label name under which a [Writer]'s name is shown. No
// instrument may use it itself.
const WriterLabel = "writer"

// reservedLabels collide with what Prometheus adds to a histogram, or with
// the writer.
var reservedLabels = []string{WriterLabel, "le", "quantile"}

// descriptorSize is the size of one entry of the descriptor table, in bytes.
const descriptorSize = 512

// Byte offsets in a descriptor. Strings follow from descText on, each as a
// u16 length and its bytes: name, help, unit, writer, then pairs of label name
// and value.
const (
	descCRC     = 0  // u32, CRC-32C of the bytes from 4 on
	descKind    = 4  // u32, a Kind
	descOffset  = 8  // u64, where the value lies in the file
	descSize    = 16 // u64, its size in bytes
	descLowest  = 24 // i64, histograms only, as the next two
	descHighest = 32 // i64
	descDigits  = 40 // u32
	descStrings = 44 // u32, number of strings: 4 and two for each label
	descText    = 48

	fixedStrings = 4
	maxStrings   = (descriptorSize - descText) / 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// descriptor is what is known of an instrument apart from its value.
type descriptor struct {
	kind                     Kind
	name, help, unit, writer string
	labels                   []Label // sorted by name
	offset, size             int64
	hist                     buckets // histograms only
}

// key identifies the instrument in its file.
func (d *descriptor) key() string {
	var b strings.Builder
	b.WriteString(d.writer)
	b.WriteByte(0)
	b.WriteString(d.name)
	for _, l := range d.labels {
		b.WriteByte(0)
		b.WriteString(l.Name)
		b.WriteByte(0)
		b.WriteString(l.Value)
	}
	return b.String()
}

// check holds names to what Prometheus accepts, so that no exposition ever
// has to mangle one, and the text to what fits. It is applied both to what is
// registered and to what is read.
func (d *descriptor) check() error {
	if !validName(d.name, true) {
		return fmt.Errorf("%w: name %q; use letters, digits, _ and :, not beginning with a digit", ErrInvalid, d.name)
	}
	for _, s := range []string{d.help, d.unit, d.writer} {
		if err := checkText(s); err != nil {
			return fmt.Errorf("%w of %s", err, d.name)
		}
	}
	for i, l := range d.labels {
		switch {
		case !validName(l.Name, false) || strings.HasPrefix(l.Name, "__"):
			return fmt.Errorf("%w: label name %q of %s; use letters, digits and _, not beginning with a digit or __", ErrInvalid, l.Name, d.name)
		case slices.Contains(reservedLabels, l.Name):
			return fmt.Errorf("%w: label name %q of %s is reserved; choose another", ErrInvalid, l.Name, d.name)
		case i > 0 && d.labels[i-1].Name >= l.Name:
			return fmt.Errorf("%w: label name %q of %s stands twice or out of order", ErrInvalid, l.Name, d.name)
		}
		if err := checkText(l.Value); err != nil {
			return fmt.Errorf("%w of label %s of %s", err, l.Name, d.name)
		}
	}
	return nil
}

// checkText refuses what would break a key or an exposition.
func checkText(s string) error {
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		return fmt.Errorf("%w: %q is not UTF-8 without zero bytes, in the text", ErrInvalid, s)
	}
	return nil
}

// validName reports whether s matches [a-zA-Z_][a-zA-Z0-9_]*, where colons
// count as letters if they are allowed.
func validName(s string, colon bool) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c == ':' && colon:
		case c >= '0' && c <= '9' && i > 0:
		default:
			return false
		}
	}
	return s != ""
}

func (d *descriptor) strings() []string {
	s := []string{d.name, d.help, d.unit, d.writer}
	for _, l := range d.labels {
		s = append(s, l.Name, l.Value)
	}
	return s
}

// encode returns the table entry in the native byte order.
func (d *descriptor) encode() ([]byte, error) {
	o := binary.NativeEndian
	b := make([]byte, descText, descriptorSize)
	o.PutUint32(b[descKind:], uint32(d.kind))
	o.PutUint64(b[descOffset:], uint64(d.offset))
	o.PutUint64(b[descSize:], uint64(d.size))
	o.PutUint64(b[descLowest:], uint64(d.hist.opt.Lowest))
	o.PutUint64(b[descHighest:], uint64(d.hist.opt.Highest))
	o.PutUint32(b[descDigits:], uint32(d.hist.opt.Digits))
	text := d.strings()
	o.PutUint32(b[descStrings:], uint32(len(text)))
	for _, s := range text {
		if len(b)+2+len(s) > descriptorSize {
			return nil, fmt.Errorf("%w: the texts of %s exceed %d bytes together; shorten its help or labels",
				ErrInvalid, d.name, descriptorSize-descText)
		}
		b = o.AppendUint16(b, uint16(len(s)))
		b = append(b, s...)
	}
	b = b[:descriptorSize]
	o.PutUint32(b[descCRC:], crc32.Checksum(b[4:], castagnoli))
	return b, nil
}

// decodeDescriptor decodes an entry of descriptorSize bytes and checks that
// its value lies between from and to. It allocates no more than the entry's
// own text.
func decodeDescriptor(b []byte, o binary.ByteOrder, from, to int64) (descriptor, error) {
	if o.Uint32(b[descCRC:]) != crc32.Checksum(b[4:descriptorSize], castagnoli) {
		return descriptor{}, fmt.Errorf("%w: a descriptor's checksum is wrong", ErrCorrupt)
	}
	d := descriptor{kind: Kind(o.Uint32(b[descKind:]))}
	if err := d.decodeStrings(b, o); err != nil {
		return descriptor{}, err
	}
	if err := d.check(); err != nil {
		return descriptor{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	want := int64(8)
	switch d.kind {
	case KindCounter, KindGauge:
	case KindHistogram:
		hist := HistogramOptions{
			Lowest:  int64(o.Uint64(b[descLowest:])),
			Highest: int64(o.Uint64(b[descHighest:])),
			Digits:  int(int32(o.Uint32(b[descDigits:]))),
		}
		var err error
		if d.hist, err = newBuckets(hist); err != nil {
			return descriptor{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		want = histogramSize(d.hist)
	default:
		return descriptor{}, fmt.Errorf("%w: %s is of %v", ErrCorrupt, d.name, d.kind)
	}
	offset, size := o.Uint64(b[descOffset:]), o.Uint64(b[descSize:])
	// No sum of the two is formed before offset is known to be small.
	if offset%8 != 0 || offset < uint64(from) || offset > uint64(to) ||
		size != uint64(want) || size > uint64(to)-offset {
		return descriptor{}, fmt.Errorf("%w: %s lies at %d, %d bytes, outside of the values or of another size than %d",
			ErrCorrupt, d.name, offset, size, want)
	}
	d.offset, d.size = int64(offset), int64(size)
	return d, nil
}

// decodeStrings cuts the text area into its strings.
func (d *descriptor) decodeStrings(b []byte, o binary.ByteOrder) error {
	n := o.Uint32(b[descStrings:])
	if n < fixedStrings || n > maxStrings || n%2 != 0 {
		return fmt.Errorf("%w: a descriptor of %d strings", ErrCorrupt, n)
	}
	rest := b[descText:descriptorSize]
	text := make([]string, n)
	for i := range text {
		if len(rest) < 2 || len(rest)-2 < int(o.Uint16(rest)) {
			return fmt.Errorf("%w: a descriptor's text overruns it", ErrCorrupt)
		}
		end := 2 + int(o.Uint16(rest))
		text[i], rest = string(rest[2:end]), rest[end:]
	}
	d.name, d.help, d.unit, d.writer = text[0], text[1], text[2], text[3]
	for i := fixedStrings; i < len(text); i += 2 {
		d.labels = append(d.labels, Label{Name: text[i], Value: text[i+1]})
	}
	return nil
}

// histogramSize is the size of a histogram's value in a file.
func histogramSize(b buckets) int64 { return int64(histHead+b.n) * 8 }
