package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"os"
)

type fields struct {
	Name        string `json:"name"`
	Mode        string `json:"mode"`
	Permits     uint64 `json:"permits"`
	Capacity    uint64 `json:"capacity"`
	SessionID   string `json:"session_id"`
	LockID      string `json:"lock_id"`
	TTL         int64  `json:"ttl_ms"`
	Token       uint64 `json:"fencing_token"`
	Consistency string `json:"consistency"`
	Status      string `json:"status"`
	Newest      uint64 `json:"newest_token"`
	HighWater   uint64 `json:"high_water"`
	WaiterCount uint64 `json:"waiter_count"`
	Holders     []struct {
		Token uint64 `json:"fencing_token"`
	} `json:"holders"`
}

type event struct {
	T     int64   `json:"t"`
	P     int     `json:"p"`
	Op    *uint64 `json:"op"`
	Type  string  `json:"type"`
	F     string  `json:"f"`
	Args  fields  `json:"args"`
	Value fields  `json:"value"`
	Error string  `json:"error"`
}

// What was asked and what came of it. An operation that was never answered lasts for ever.
type operation struct {
	process int
	f       string
	args    fields
	call    int64
	ret     int64
	// "ok", "fail" or "info".
	end   string
	value fields
	code  string
}

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
		if found.Op == nil {
			continue
		}
		if found.Type == "invoke" {
			asked := &operation{process: found.P, f: found.F, args: found.Args, call: found.T, ret: forever, end: "info"}
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
	return operations, scanner.Err()
}
