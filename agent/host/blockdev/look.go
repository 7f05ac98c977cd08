package blockdev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
)

// fresh is the age up to which what a tool said counts: beyond, the device may
// have been exchanged.
const fresh = 10 * time.Second

// Exit statuses: lsblk(8), blkid(8).
const (
	lsblkNone       = 32 // no such block device
	blkidNothing    = 2
	blkidAmbivalent = 8
)

// Look tells what is on a device, given by any name below /dev, by three
// witnesses: lsblk, and the probing of blkid and wipefs, none of which writes.
// What any of them has found counts. The error is facts.ErrAbsent if there is
// no such device.
func (c *Client) Look(ctx context.Context, volume, device string) (d facts.BlockDevice, done bool, err error) {
	d, done, err = c.look(ctx, volume, device)
	if err != nil {
		err = fmt.Errorf("cannot look at %s: %w", device, err)
	}
	return d, done, err
}

// witness is one tool, and what it adds.
type witness struct {
	name string
	argv []string
	take func(job facts.Job, d *facts.BlockDevice) error
}

func witnesses(device string) []witness {
	return []witness{
		{"lsblk", []string{lsblk, "--json", "--bytes", "--output", "PATH,TYPE,SIZE,RO,MAJ:MIN", device}, takeLsblk},
		{"blkid", []string{blkid, "--probe", "--output", "export", device}, takeBlkid},
		{"wipefs", []string{wipefs, "--no-act", "--json", device}, takeWipefs},
	}
}

func (c *Client) look(ctx context.Context, volume, device string) (d facts.BlockDevice, done bool, err error) {
	all := witnesses(device)
	ended := 0
	for i, w := range all {
		cmd := facts.Command{Name: jobName(volume, w.name), Argv: w.argv, RuntimeMax: lookMax}
		job, done, err := c.run(ctx, cmd, fresh)
		if err != nil {
			return facts.BlockDevice{}, false, err
		}
		if !done {
			if i == 0 {
				return facts.BlockDevice{}, false, nil // there may be no device
			}
			continue
		}
		ended++
		if job.Result != success && job.Result != exitCode {
			err = errNoAnswer
		} else {
			err = w.take(job, &d)
		}
		if errors.Is(err, errNoAnswer) {
			err = fmt.Errorf("%s %w", w.name, failure(job))
		}
		if err != nil {
			return facts.BlockDevice{}, false, errors.Join(err, c.forget(ctx, volume, all[:i+1]))
		}
	}
	if ended < len(all) {
		return facts.BlockDevice{}, false, nil
	}
	slices.Sort(d.Signatures)
	d.Signatures = slices.Compact(d.Signatures)
	return d, true, c.forget(ctx, volume, all)
}

// forget makes the next look a new one.
func (c *Client) forget(ctx context.Context, volume string, all []witness) error {
	var errs []error
	for _, w := range all {
		errs = append(errs, c.jobs.ForgetJob(ctx, jobName(volume, w.name)))
	}
	return errors.Join(errs...)
}

// errNoAnswer means that a tool did not say what it was asked.
var errNoAnswer = errors.New("no answer")

// decode reads the JSON in what a tool wrote; around it may be complaints.
func decode(output string, into any) error {
	from, to := strings.IndexByte(output, '{'), strings.LastIndexByte(output, '}')
	if from < 0 || to < from || json.Unmarshal([]byte(output[from:to+1]), into) != nil {
		return errNoAnswer
	}
	return nil
}

type lsblkDevice struct {
	Path     string        `json:"path"`
	Type     string        `json:"type"`
	Size     uint64        `json:"size"`
	ReadOnly bool          `json:"ro"`
	Number   string        `json:"maj:min"`
	Children []lsblkDevice `json:"children"`
}

func takeLsblk(job facts.Job, d *facts.BlockDevice) error {
	if job.ExitStatus == lsblkNone {
		return facts.ErrAbsent
	}
	var answer struct {
		Devices []lsblkDevice `json:"blockdevices"`
	}
	if err := decode(job.Output, &answer); err != nil || job.ExitStatus != 0 || len(answer.Devices) != 1 {
		return errNoAnswer
	}
	found := answer.Devices[0]
	if found.Path == "" || found.Number == "" {
		return errNoAnswer
	}
	d.Path, d.Number, d.Size, d.ReadOnly = found.Path, strings.TrimSpace(found.Number), found.Size, found.ReadOnly
	for _, child := range found.Children {
		d.Parts = append(d.Parts, child.Path)
	}
	return nil
}

func takeBlkid(job facts.Job, d *facts.BlockDevice) error {
	switch job.ExitStatus {
	case 0:
	case blkidNothing: // also if there is no device, which the others tell
		return nil
	case blkidAmbivalent:
		d.Signatures = append(d.Signatures, "more than one file system")
		return nil
	default:
		return errNoAnswer
	}
	known := false
	for line := range strings.Lines(job.Output) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		known = known || key == "DEVNAME"
		switch key {
		case "TYPE":
			d.FileSystem = value
			d.Signatures = append(d.Signatures, value)
		case "PTTYPE":
			d.Signatures = append(d.Signatures, value)
		case "LABEL":
			d.Label = value
		case "UUID":
			d.UUID = value
		}
	}
	if !known {
		return errNoAnswer
	}
	return nil
}

func takeWipefs(job facts.Job, d *facts.BlockDevice) error {
	var answer struct {
		Signatures *[]struct {
			Type string `json:"type"`
		} `json:"signatures"`
	}
	if job.ExitStatus != 0 {
		return errNoAnswer
	}
	if strings.TrimSpace(job.Output) == "" {
		return nil // some versions say so that there is none
	}
	if err := decode(job.Output, &answer); err != nil || answer.Signatures == nil {
		return errNoAnswer
	}
	for _, s := range *answer.Signatures {
		d.Signatures = append(d.Signatures, s.Type)
	}
	return nil
}
