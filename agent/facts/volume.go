package facts

// Volumes is whether Docker can start as far as its volumes go. The zero value
// lets it.
type Volumes struct {
	Held bool
	Why  string // names the volumes that are missing, if Held
}

// BlockDevice is a block device and what was found on it.
type BlockDevice struct {
	Path     string // the kernel's, such as /dev/nvme1n1
	Number   string // major:minor, as in /proc/self/mountinfo
	Size     uint64 // bytes
	ReadOnly bool
	// FileSystem is what a file system on it is, such as "ext4" or "xfs"; empty
	// if there is none, or more than one.
	FileSystem string
	Label      string
	UUID       string
	// Signatures are all types that were found on it, in order: file systems,
	// partition tables, members of RAID and LVM, and so on.
	Signatures []string
	Parts      []string // paths of its partitions, and of what is built upon it
}

// Blank reports whether nothing at all was found on the device.
func (b BlockDevice) Blank() bool {
	return b.FileSystem == "" && len(b.Signatures) == 0 && len(b.Parts) == 0
}

// Holds reports whether a file system of that type, and nothing else, was found
// on the device.
func (b BlockDevice) Holds(fileSystem string) bool {
	for _, s := range b.Signatures {
		if s != fileSystem {
			return false
		}
	}
	return b.FileSystem == fileSystem && len(b.Parts) == 0
}
