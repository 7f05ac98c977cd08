// Package pattern has regular expressions that are compiled when they are first
// used. To compile all that ecsnode has takes longer than most of its commands.
package pattern

import (
	"regexp"
	"sync"
)

// Regexp is a regular expression as package regexp has them. It is safe for
// concurrent use, and its methods are those of [regexp.Regexp].
type Regexp struct{ compiled func() *regexp.Regexp }

// New returns an expression. Its first use panics if it is none; a test of this
// package compiles all there are.
func New(expression string) *Regexp {
	return &Regexp{sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })}
}

// MatchString reports whether s has a match.
func (r *Regexp) MatchString(s string) bool { return r.compiled().MatchString(s) }

// Match reports whether b has a match.
func (r *Regexp) Match(b []byte) bool { return r.compiled().Match(b) }

// FindString returns the first match in s, or "".
func (r *Regexp) FindString(s string) string { return r.compiled().FindString(s) }

// FindStringSubmatch returns the first match and its groups, or nil.
func (r *Regexp) FindStringSubmatch(s string) []string { return r.compiled().FindStringSubmatch(s) }

// FindStringSubmatchIndex returns where the first match and its groups are, in pairs,
// or nil.
func (r *Regexp) FindStringSubmatchIndex(s string) []int {
	return r.compiled().FindStringSubmatchIndex(s)
}

// ReplaceAllString returns s with each match replaced by with, in which $1 is a group.
func (r *Regexp) ReplaceAllString(s, with string) string {
	return r.compiled().ReplaceAllString(s, with)
}

// ReplaceAllStringFunc returns s with each match replaced by what with makes of it.
func (r *Regexp) ReplaceAllStringFunc(s string, with func(match string) string) string {
	return r.compiled().ReplaceAllStringFunc(s, with)
}

// String returns the expression.
func (r *Regexp) String() string { return r.compiled().String() }
