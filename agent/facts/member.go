package facts

// Member is a container instance of a cluster, as others than itself see it.
type Member struct {
	InstanceID string
	Attribute  string // the value of the attribute that was asked for; "": it has none
}
