package files

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ecsnode/ecsnode/agent/facts"
	"github.com/ecsnode/ecsnode/agent/fsx"
)

// forget undoes items that are no longer configured, the innermost first.
func (p *pass) forget() (errs []error) {
	if whole, known := p.Whole.Get(); !whole || !known {
		return nil // a file that is left out may name them
	}
	names := slices.Sorted(maps.Keys(p.ledger.Items))
	for _, name := range slices.Backward(names) {
		if _, is := p.config.Items[name]; is {
			continue
		}
		if err := p.undo(name, p.ledger.Items[name]); err != nil {
			errs = append(errs, err)
			continue
		}
		delete(p.ledger.Items, name)
	}
	return errs
}

func (p *pass) undo(name string, e entry) error {
	if e.Keep || e.Hash == "" { // kept, or never made
		return nil
	}
	if why := p.unsafe(name); why != "" {
		return fmt.Errorf("cannot take %s back: %w: %s", name, facts.ErrRefused, why)
	}
	now, _, data, err := look(p.FS, name)
	if err != nil {
		return err
	}
	switch same, err := p.isOurs(now, data, e); {
	case err != nil:
		return fmt.Errorf("cannot take a block out of %s: %w", name, err)
	case (e.Undoing || e.Making) && (now.equal(e.Was) || now.Kind == ""): // we were cut short
	case !same:
		p.warnings = append(p.warnings, fmt.Sprintf("%s is no longer configured so and was changed by others: it stays as it is", name))
		return nil
	}
	if e.Kind == aDirectory && e.Was.Kind == "" {
		if entries, err := p.FS.ReadDir(name); err == nil && len(entries) > 0 {
			p.warnings = append(p.warnings, fmt.Sprintf("%s is no longer configured and not empty: it stays", name))
			return nil
		}
	}
	// First, so that neither the restart nor what is left to do is forgotten.
	e.Undoing = true
	p.ledger.Unread = p.ledger.Unread || ofSystemd(name)
	p.ledger.Items[name] = e
	for _, unit := range slices.Concat(e.Restart, e.Reload) {
		if slices.Contains(e.Restart, unit) || !slices.Contains(theirs, unit) {
			p.ledger.Owed[unit] = time.Now().UTC()
		}
	}
	if p.kept, err = p.ledger.save(p.FS, p.kept); err != nil {
		return err
	}
	p.changed = true
	if e.Kind != aBlock {
		return e.Was.restore(p.FS, name, now)
	}
	if now.Kind != aFile {
		return nil
	}
	whole, err := withoutBlock(data, e.Block, cmp.Or(e.Comment, "#"))
	if err != nil {
		return fmt.Errorf("cannot take a block out of %s: %w", name, err)
	}
	_, err = p.FS.WriteFile(name, whole, fsx.How{})
	return err
}

// isOurs reports whether what is at the path is what we put there.
func (p *pass) isOurs(now was, data []byte, e entry) (bool, error) {
	switch e.Kind {
	case nothing:
		return now.Kind == "", nil
	case aLink:
		return now.Kind == aLink && e.has(hash([]byte(now.Target))), nil
	case aDirectory:
		return now.Kind == aDirectory, nil
	case aBlock:
		if now.Kind != aFile {
			return false, nil
		}
		text, there, err := blockOf(data, e.Block, cmp.Or(e.Comment, "#"))
		return there && e.has(hash(text)), err
	}
	return now.Kind == aFile && e.has(now.Hash), nil
}

// has reports whether a hash is that of what we put there.
func (e entry) has(sum string) bool { return sum == e.Hash || e.Making && sum == e.Former }
