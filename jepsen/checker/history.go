package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
)

type named struct {
	Name string `json:"name"`
}

type fields struct {
	Locks       []named   `json:"locks"`
	Name        string    `json:"name"`
	Mode        string    `json:"mode"`
	Permits     uint64    `json:"permits"`
	Capacity    uint64    `json:"capacity"`
	SessionID   string    `json:"session_id"`
	LockID      string    `json:"lock_id"`
	TTL         int64     `json:"ttl_ms"`
	Token       uint64    `json:"fencing_token"`
	Consistency string    `json:"consistency"`
	Status      string    `json:"status"`
	Newest      uint64    `json:"newest_token"`
	TTLPercent  int64     `json:"ttl_percent"`
	HighWater   uint64    `json:"high_water"`
	WaiterCount uint64    `json:"waiter_count"`
	Holders     []tokenOf `json:"holders"`
	CandidateID string    `json:"candidate_id"`
	// Of a read of an election; nil when nobody leads.
	Leader *tokenOf `json:"leader"`
}

type tokenOf struct {
	Token uint64 `json:"fencing_token"`
}

type event struct {
	T     int64   `json:"t"`
	P     int     `json:"p"`
	Op    *uint64 `json:"op"`
	Type  string  `json:"type"`
	F     string  `json:"f"`
	Key   string  `json:"key"`
	Args  fields  `json:"args"`
	Value fields  `json:"value"`
	Error string  `json:"error"`
}

// Returns the names that an operation is about.
func (f fields) names() []string {
	if f.Name != "" {
		return []string{f.Name}
	}
	found := []string{}
	for _, lock := range f.Locks {
		found = append(found, lock.Name)
	}
	return found
}

// A request and its outcome. An operation that was never answered never returns.
type operation struct {
	process int
	f       string
	key     string
	args    fields
	call    int64
	ret     int64
	// "ok", "fail" or "info".
	end   string
	value fields
	code  string
}

// The promised part of a TTL, in percent: less than 100 when the run makes the nodes' clocks run fast.
var ttlPercent = int64(100)

const forever = math.MaxInt64 / 2

func read(path string) ([]*operation, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	operations := []*operation{}
	open := map[uint64]*operation{}
	scanner := bufio.NewScanner(file)
	scanner.Buffer(make([]byte, 1<<20), 16<<20)
	for line := 1; scanner.Scan(); line++ {
		var found event
		if err := json.Unmarshal(scanner.Bytes(), &found); err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", path, line, err)
		}
		if found.Value.TTLPercent != 0 {
			ttlPercent = found.Value.TTLPercent
		}
		if found.Op == nil {
			continue
		}
		if found.Type == "invoke" {
			asked := &operation{process: found.P, f: found.F, key: found.Key, args: found.Args, call: found.T, ret: forever, end: "info"}
			operations = append(operations, asked)
			open[*found.Op] = asked
			continue
		}
		asked := open[*found.Op]
		if asked == nil || found.Type == "attempt" {
			continue
		}
		asked.end, asked.value, asked.code = found.Type, found.Value, found.Error
		if found.Type != "info" {
			asked.ret = found.T
		}
	}
	asLocks(operations)
	return merged(operations), scanner.Err()
}

// Rewrites elections as what they are for the model: locks with one holder. Campaigning takes the lock, resigning gives it back, a
// proclamation shows that it is held, and a read shows its holder.
func asLocks(operations []*operation) {
	candidates := map[uint64]string{}
	for _, asked := range operations {
		if asked.f == "campaign" && asked.end == "ok" {
			candidates[asked.value.Token] = asked.value.CandidateID
		}
	}
	for _, asked := range operations {
		switch asked.f {
		case "campaign":
			asked.f, asked.value.LockID = "acquire", asked.value.CandidateID
		case "resign", "proclaim":
			asked.f = map[string]string{"resign": "release", "proclaim": "extend"}[asked.f]
			asked.args.LockID = candidates[asked.args.Token]
			if asked.code == "token_superseded" {
				asked.code = "lock_not_held"
			}
		case "get_election":
			asked.f = "get_lock"
			if asked.value.Leader != nil {
				asked.value.Holders = []tokenOf{*asked.value.Leader}
			}
		}
	}
}

// Merges answered operations that share a key into one: they had one effect, before any of them was answered.
func merged(operations []*operation) []*operation {
	first := map[string]*operation{}
	for _, asked := range operations {
		if asked.key == "" || asked.end != "ok" {
			continue
		}
		if known := first[asked.key]; known != nil {
			known.call, known.ret = min(known.call, asked.call), min(known.ret, asked.ret)
		} else {
			first[asked.key] = asked
		}
	}
	kept := []*operation{}
	for _, asked := range operations {
		if known := first[asked.key]; known == nil || known == asked {
			kept = append(kept, asked)
		} else if asked.end == "info" {
			// This attempt may have been the one that took effect.
			known.call = min(known.call, asked.call)
		}
	}
	return kept
}
