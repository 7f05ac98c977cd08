package nodetasks

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/ecsnode/ecsnode/agent/fsx"
)

// File keeps what was started, over restarts and reboots.
const File = "/var/lib/ecsnode/nodetasks.json"

// spec is what a task is started with.
type spec struct {
	Definition  string            `json:"definition"` // family:revision
	Container   string            `json:"container,omitempty"`
	Environment map[string]string `json:"environment,omitempty"`
}

// hash tells one from another.
func (s spec) hash() string {
	data, _ := json.Marshal(s) // of strings, in the order of their keys
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// run is a task that was started, or found.
type run struct {
	ARN  string    `json:"arn,omitempty"`
	Spec spec      `json:"spec"`
	At   time.Time `json:"at,omitzero"`   // when it was asked for
	Ours bool      `json:"ours"`          // we have asked for it
	Seen bool      `json:"seen"`          // a container of it ran
	Told time.Time `json:"told,omitzero"` // when we last told it to stop
	// Alone is why it is left alone though it is not what is wanted.
	Alone string    `json:"alone,omitempty"`
	Down  time.Time `json:"down,omitzero"` // since when it has no container although its agent lists it
}

// call is a StartTask whose answer is not known: it is written down before it is
// made.
type call struct {
	Spec spec      `json:"spec"`
	At   time.Time `json:"at"`
}

// change is that something else is wanted than what runs.
type change struct {
	Hash  string    `json:"hash"`
	Since time.Time `json:"since"`
	// Begun is when what ran was told to stop for it. Until the other one is up,
	// no other node task is replaced.
	Begun time.Time `json:"begun,omitzero"`
}

// record is what is known of one node task beside what can be seen.
type record struct {
	Family  string `json:"family"` // of what runs, or is asked for
	Running run    `json:"running,omitzero"`
	Calling *call  `json:"calling,omitempty"`
	Dead    string `json:"dead,omitempty"` // ARN of the task before, which ECS may still list
	Change  change `json:"change,omitzero"`

	Good *spec             `json:"good,omitempty"` // the latest that stayed up
	Bad  map[string]string `json:"bad,omitempty"`  // by hash, why it was taken back

	Ends     int       `json:"ends,omitempty"`       // in a row without a healthy hour
	Early    int       `json:"early_ends,omitempty"` // in a row of one spec before it had stayed up
	EarlyOf  string    `json:"early_of,omitempty"`   // its hash
	EndedAt  time.Time `json:"ended_at,omitzero"`
	LastEnd  string    `json:"last_end,omitempty"`
	Tries    int       `json:"tries,omitempty"`   // in a row that started nothing
	Refusal  string    `json:"refusal,omitempty"` // of the latest of them
	NextTry  time.Time `json:"next_try,omitzero"`
	NextAsk  time.Time `json:"next_ask,omitzero"`  // when ECS is asked again what became of it
	Newest   int       `json:"newest,omitempty"`   // revision, of FAMILY@newest
	NewestAt time.Time `json:"newest_at,omitzero"` // when it was last asked for
	// Extra is when tasks beside the one were told to stop, by ARN.
	Extra map[string]time.Time `json:"extra,omitempty"`
}

// state is all of them.
type state struct {
	Instance string            `json:"container_instance"` // which it is about
	Tasks    map[string]record `json:"tasks"`
}

func load(files fsx.FS) (s state, err error) {
	if err = fsx.ReadJSON(files, File, &s); err != nil {
		s, err = state{}, fmt.Errorf("cannot read which tasks were started, what runs is taken as it is: %w", err)
	}
	if s.Tasks == nil {
		s.Tasks = map[string]record{}
	}
	return s, err
}

// save writes s down if it is not kept, as it was written last, already.
func save(files fsx.FS, s state, kept []byte) ([]byte, error) {
	kept, err := fsx.WriteJSON(files, File, s, kept)
	if err != nil {
		err = fmt.Errorf("cannot keep which tasks were started: %w", err)
	}
	return kept, err
}
