// Package strict decodes layers of YAML onto a Go struct, reporting every
// problem at once with its file, line and column.
//
// # Types
//
// A configuration is a struct whose exported fields carry two tags: yaml, the
// key, and help, one sentence for a person. CheckType tells whether a type can
// be used. Fields may be structs, pointers, slices, maps with string keys,
// strings, booleans, integers, floats, and text types: anything that
// implements encoding.TextUnmarshaler and encoding.TextMarshaler. Strings and
// text types are read from the characters in the file, never from what YAML
// takes them for: 0644 stays "0644", no stays "no", 1.10 stays "1.10".
//
// A type may also implement Expecter, Enumer, Patterner and Defaulter, and the
// error of its UnmarshalText may implement Offsetter and Hinter. None of them
// needs an import of this package.
//
// # Layers
//
// Layers are applied in order onto a struct that holds the defaults:
//
//   - mappings (structs and maps) merge deeply, key by key;
//   - scalars and lists replace what was there, and an empty list is a list;
//   - "key: null" (or ~) sets a struct's field back to its default and removes
//     a map's entry, the default's entries included;
//   - "key:" with nothing after it is a mapping without settings where a
//     mapping belongs, so a block whose lines are all commented out changes
//     nothing; for anything else it is a problem;
//   - a list's entry must not be null.
//
// A layer with a problem is left out whole; the others still apply.
//
// # What YAML is accepted
//
// One document of block and flow mappings, lists and scalars in UTF-8. Refused,
// each with a message of its own: anchors, aliases, merge keys, tags,
// directives, explicit keys ("? "), further documents, duplicate keys, tabs as
// indentation, control characters, and what is larger than MaxSize or nested
// deeper than a configuration can be. A value that starts with "{{" is taken
// for a template that lacks its quotes. What the YAML parser reads differently
// from what stands in the file is refused too. Of a layer that is no YAML at all
// only the first such problem is reported.
package strict
