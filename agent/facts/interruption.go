package facts

import "slices"

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
	// Silent are the sources that have not answered since the agent started.
	// That none of their notices stands says nothing.
	Silent []string
	Drain  bool // the node is to be drained
	// Deadline is the earliest of those that count: of the hard ones if there
	// is one, else of the soft ones. The zero Moment: none.
	Deadline Moment
	Hard     bool
	// StopBy is when what is left must have been told to stop: the earliest hard
	// deadline, or soft one that is to be forced. The zero Moment: never.
	StopBy Moment
}

// Equal reports whether i and o say the same.
func (i Interruption) Equal(o Interruption) bool {
	return slices.Equal(i.Standing, o.Standing) && slices.Equal(i.Silent, o.Silent) && i.Drain == o.Drain &&
		i.Deadline == o.Deadline && i.Hard == o.Hard && i.StopBy == o.StopBy
}
