package facts

import (
	"fmt"
	"maps"
	"strconv"
	"time"
)

// Package is one installed version of a package. A name may be installed in
// several versions, after a transaction that was cut short, and for several
// architectures.
type Package struct {
	Name        string
	Epoch       int
	Version     string // version-release, such as "1.98.0-1.amzn2023"
	Arch        string
	InstalledAt time.Time
}

// NEVRA is the full name of p, as dnf takes and prints it.
func (p Package) NEVRA() string {
	epoch := ""
	if p.Epoch > 0 {
		epoch = strconv.Itoa(p.Epoch) + ":"
	}
	return fmt.Sprintf("%s-%s%s.%s", p.Name, epoch, p.Version, p.Arch)
}

// Dependant is an installed package that needs something of another one.
type Dependant struct {
	Name  string
	Needs string // what it requires: a package, a file or what a package provides
}

// Packages are how the packages stand that should be on the node, by name.
type Packages map[string]PackageState

// PackageState is how one stands.
type PackageState struct {
	// Installed: it is there, in whatever version.
	Installed bool
	// Failed is why it is not there and does not come now; empty: it is being
	// waited for.
	Failed string
	// Outside: for all that is known, somebody else's repository is to blame.
	Outside bool
}

// Equal reports whether p and o say the same.
func (p Packages) Equal(o Packages) bool { return maps.Equal(p, o) }
