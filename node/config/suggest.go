package config

import (
	"reflect"
	"strings"
)

// suggest returns "; did you mean X?" for an unknown key, or a list of the keys
// that there are in its place, or "".
func suggest(path []string) string {
	t := reflect.TypeFor[Config]()
	for i, part := range path {
		var known []string
		next := reflect.Type(nil)
		for j := range t.NumField() {
			key := t.Field(j).Tag.Get("toml")
			known = append(known, key)
			if key == part {
				next = t.Field(j).Type
			}
		}
		if next == nil {
			if near := nearest(part, known); near != "" {
				return "; did you mean " + strings.Join(append(append([]string{}, path[:i]...), near), ".") + "?"
			}
			return "; there are " + strings.Join(known, ", ")
		}
		if next.Kind() == reflect.Map && next.Elem().Kind() == reflect.Struct && i+1 < len(path) {
			return suggestIn(next.Elem(), path[:i+2], path[i+2:])
		}
		if next.Kind() != reflect.Struct {
			return ""
		}
		t = next
	}
	return ""
}

// suggestIn is suggest below the table of one cell.
func suggestIn(t reflect.Type, above, path []string) string {
	for i, part := range path {
		var known []string
		next := reflect.Type(nil)
		for j := range t.NumField() {
			key := t.Field(j).Tag.Get("toml")
			known = append(known, key)
			if key == part {
				next = t.Field(j).Type
			}
		}
		if next == nil {
			if near := nearest(part, known); near != "" {
				return "; did you mean " + strings.Join(append(append(append([]string{}, above...), path[:i]...), near), ".") + "?"
			}
			return "; there are " + strings.Join(known, ", ")
		}
		if next.Kind() != reflect.Struct {
			return ""
		}
		t = next
	}
	return ""
}

// nearest returns the known word that is near to one, or "".
func nearest(word string, known []string) string {
	best, least := "", 1+max(1, len(word)/3)
	for _, k := range known {
		if d := distance(word, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is how many letters must be put in, left out or changed to make one
// word of another (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(row[j+1]+1, row[j]+1, change)
		}
	}
	return row[len(b)]
}
