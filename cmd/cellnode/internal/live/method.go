package live

import (
	"fmt"

	"github.com/cell-runtime/cell/rpc"
	"github.com/cell-runtime/cell/schema"
)

// Method is a method made of a description, with the codecs of its messages.
type Method struct {
	*rpc.Method
	Described *schema.Method
	codecs    codecs // nil for messages without fields
}

// Describe makes the description that package rpc works with of one that was
// read. text is the whole description.
func Describe(service *schema.Service, text string) (*rpc.ServiceDesc, error) {
	desc := rpc.ServiceDesc{Name: service.Name, Digest: schema.Digest(service), Text: text}
	for i := range service.Methods {
		m, _, err := describe(service, &service.Methods[i])
		if err != nil {
			return nil, err
		}
		desc.Methods = append(desc.Methods, m)
	}
	return rpc.Describe(desc), nil
}

type codecs [schema.SlotEvent + 1]*schema.Codec

func describe(service *schema.Service, m *schema.Method) (made rpc.Method, all codecs, err error) {
	made = rpc.Method{
		Name: m.Name, Fingerprint: schema.Fingerprint(service, m), Mode: m.Mode,
		Idempotent: m.Idempotent, Ancestors: m.Ancestors,
	}
	shapes := [...]*rpc.Shape{
		schema.SlotRequest: &made.Request, schema.SlotReply: &made.Reply,
		schema.SlotIn: &made.In, schema.SlotOut: &made.Out, schema.SlotEvent: &made.Event,
	}
	for slot := schema.SlotRequest; slot <= schema.SlotEvent; slot++ {
		t := m.Message(slot)
		if t == nil || t.Name == "" {
			continue
		}
		codec, err := schema.NewCodec(t)
		if err != nil {
			return made, all, fmt.Errorf("%s.%s: %w", service.Name, m.Name, err)
		}
		all[slot] = codec
		*shapes[slot] = rpc.Shape{Block: codec.Layout().Size, Variable: !codec.Layout().Fixed}
	}
	return made, all, nil
}

func newMethod(service *schema.Service, text string, name string) (*Method, error) {
	desc, err := Describe(service, text)
	if err != nil {
		return nil, err
	}
	described := service.Method(name)
	_, all, err := describe(service, described)
	return &Method{Method: desc.Method(name), Described: described, codecs: all}, err
}

// Encode reads a message of that slot from JSON. Empty text is a message
// without anything set.
func (m *Method) Encode(slot schema.Slot, json []byte) (rpc.Encoder, error) {
	if len(json) == 0 {
		json = []byte("{}")
	}
	codec := m.codecs[slot]
	if codec == nil {
		codec = emptyCodec
	}
	b, err := codec.FromJSON(json)
	if err != nil {
		return nil, fmt.Errorf("the %v of %v: %w", slot, m, err)
	}
	return Bytes(b), nil
}

// Decode writes a message of that slot as JSON.
func (m *Method) Decode(slot schema.Slot, message Bytes) ([]byte, error) {
	codec := m.codecs[slot]
	if codec == nil {
		return []byte("{}"), nil
	}
	json, err := codec.ToJSON(message, codec.Layout().Size)
	if err != nil {
		return nil, fmt.Errorf("the %v of %v: %w", slot, m, err)
	}
	return json, nil
}

var emptyCodec = func() *schema.Codec {
	c, err := schema.NewCodec(&schema.Type{Kind: schema.Struct})
	if err != nil {
		panic(err) // a struct without fields is valid
	}
	return c
}()

// Bytes is a message of any type as it travels.
type Bytes []byte

// SizeCell, EncodeCell and DecodeCell implement rpc.Encoder and rpc.Decoder.
func (b Bytes) SizeCell() int                     { return len(b) }
func (b Bytes) EncodeCell(to []byte) (int, error) { return copy(to, b), nil }
func (b *Bytes) DecodeCell(message []byte) error  { *b = append((*b)[:0], message...); return nil }
