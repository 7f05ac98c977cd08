package facts

// Standing is a notice that stands, and since when.
type Standing struct {
	Notice
	Seen Moment `json:"seen"` // first
	// Until is when its drain has to be over; the zero Moment: not bounded.
	Until Moment `json:"until,omitzero"`
}

// Interruption is what all notices together come to.
type Interruption struct {
	Standing []Standing // first seen first
	// Known: every source has answered since the agent started. Without it that
	// no notice stands says nothing.
	Known bool
	Drain bool // the node is to be drained
	// Deadline is the earliest of those that count: of the hard ones if there
	// is one, else of the soft ones. The zero Moment: none.
	Deadline Moment
	Hard     bool
	Force    bool // what is left at a soft deadline is stopped too
}

// Equal reports whether i and o say the same.
func (i Interruption) Equal(o Interruption) bool {
	if len(i.Standing) != len(o.Standing) || i.Known != o.Known || i.Drain != o.Drain ||
		i.Deadline != o.Deadline || i.Hard != o.Hard || i.Force != o.Force {
		return false
	}
	for n := range i.Standing {
		if i.Standing[n] != o.Standing[n] {
			return false
		}
	}
	return true
}
