package strict

import (
	"reflect"
	"slices"
	"strings"
)

// suggest returns the hint for an unknown key among fields.
func (d *decoder) suggest(key string, fields []field) string {
	const enough = 100
	if len(d.problems) > enough {
		return ""
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	hint := didYouMean(key, names)
	if places := placesOf(d.root, key, ""); len(places) > 0 {
		const most = 3
		elsewhere := quote(key) + " belongs " + strings.Join(places[:min(most, len(places))], ", or ")
		if hint == "" {
			return elsewhere
		}
		return hint + " " + elsewhere
	}
	if hint == "" {
		return allowed(names)
	}
	return hint
}

// allowed lists names for a hint, as far as that is readable.
func allowed(names []string) string {
	const most = 20
	if len(names) > most {
		names = append(slices.Clone(names[:most]), "...")
	}
	return "known here: " + strings.Join(names, ", ")
}

// didYouMean returns the hint for text that should have been one of names; ""
// if none is near.
func didYouMean(text string, names []string) string {
	best, distance := "", max(1, len(text)/3)+1
	for _, name := range names {
		d := editDistance(normal(text), normal(name))
		if d < distance {
			best, distance = name, d
		}
	}
	if best == "" {
		return ""
	}
	return "did you mean " + quote(best) + "?"
}

// normal removes what only spelling conventions add: stopTimeout, stop-timeout
// and stop_timeout are one name.
func normal(name string) []rune {
	return []rune(strings.ToLower(strings.NewReplacer("_", "", "-", "").Replace(name)))
}

// editDistance counts the characters to insert, delete, replace or swap with
// their neighbour to get from a to b.
func editDistance(a, b []rune) int {
	if len(a) > 64 || len(b) > 64 {
		return max(len(a), len(b))
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			replace := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}

// placesOf lists where in t, a type at path, the key is a setting: "under
// node_config.files.<name>".
func placesOf(t reflect.Type, key, path string) []string {
	switch {
	case isText(t):
	case t.Kind() == reflect.Pointer:
		return placesOf(t.Elem(), key, path)
	case t.Kind() == reflect.Map:
		return placesOf(t.Elem(), key, path+".<name>")
	case t.Kind() == reflect.Slice:
		return placesOf(t.Elem(), key, path+"[]")
	case t.Kind() == reflect.Struct:
		var places []string
		for _, f := range fieldsOf(t) {
			if f.name == key && path == "" {
				places = append(places, "at the top level")
			} else if f.name == key {
				places = append(places, "under "+path)
			}
			places = append(places, placesOf(f.typ, key, Key(path, f.name))...)
		}
		return places
	}
	return nil
}
