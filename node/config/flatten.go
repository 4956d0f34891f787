package config

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
)

// Setting is one value with its origin.
type Setting struct {
	Key    string `json:"key"`
	Value  any    `json:"value"`
	Origin string `json:"origin"` // default, "file PATH", "env NAME", flag
}

// Settings lists every value in the order of its keys.
func (c Config) Settings(origins Origins) []Setting {
	all := []Setting{}
	flatten(reflect.ValueOf(c), "", func(key string, v reflect.Value) {
		all = append(all, Setting{key, plain(v), origins.Of(key)})
	})
	return all
}

func flatten(v reflect.Value, prefix string, f func(key string, v reflect.Value)) {
	t := v.Type()
	for i := range t.NumField() {
		key, sub := prefix+t.Field(i).Tag.Get("toml"), v.Field(i)
		switch {
		case sub.Kind() == reflect.Struct:
			flatten(sub, key+".", f)
		case sub.Kind() == reflect.Map && sub.Type().Elem().Kind() == reflect.Struct:
			names := sub.MapKeys()
			slices.SortFunc(names, func(a, b reflect.Value) int {
				if a.String() < b.String() {
					return -1
				}
				return 1
			})
			for _, name := range names {
				flatten(sub.MapIndex(name), key+"."+name.String()+".", f)
			}
		default:
			f(key, sub)
		}
	}
}

// plain returns a value as JSON has it.
func plain(v reflect.Value) any {
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		if text, err := m.MarshalText(); err == nil {
			return string(text)
		}
	}
	return v.Interface()
}

// String is the setting as a line of TOML with its origin behind it.
func (s Setting) String() string {
	text, err := json.Marshal(s.Value) // TOML's strings, numbers and lists of them are JSON's
	if err != nil || string(text) == "null" {
		text = []byte("[]")
	}
	return fmt.Sprintf("%s = %s  # %s", s.Key, text, s.Origin)
}
