package fsx

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
)

// ErrDamaged means that a file was read and is not what it should be.
var ErrDamaged = errors.New("damaged")

// ReadJSON reads what [WriteJSON] wrote. Of a file that is not there v stays as it
// is, and that is no error.
func ReadJSON(files FS, name string, v any) error {
	data, err := files.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s is %w: %w", name, ErrDamaged, err)
	}
	return nil
}

// WriteJSON keeps v in a file for its owner alone, and makes the directory of that.
// It returns what it wrote, with which the next call can tell that nothing is to
// be written: kept is that, or nil.
func WriteJSON(files FS, name string, v any, kept []byte) ([]byte, error) {
	data, err := json.Marshal(v)
	if err != nil || bytes.Equal(data, kept) {
		return kept, err
	}
	if _, err := files.MkdirAll(path.Dir(name), 0o755); err != nil {
		return kept, err
	}
	if _, err := files.WriteFile(name, data, How{Mode: 0o600}); err != nil {
		return kept, err
	}
	return data, nil
}
