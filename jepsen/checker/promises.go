package main

import (
	"sort"
	"strings"

	"github.com/anishathalye/porcupine"
)

const ms = int64(1_000_000)

// The promised part of the TTL that an operation asks for.
func promised(asked *operation) int64 {
	return asked.args.TTL * ms / 100 * ttlPercent
}

// A grant that a client knows of, and the time until which it was promised.
type grant struct {
	names             []string
	lockID, sessionID string
	token             uint64
	// Before this time only its owner may end it.
	until int64
	// From this time on it is known to have ended; forever when that is unknown.
	over int64
}

// A session that a client knows of.
type session struct {
	ttl int64
	// Before this time it does not end by itself.
	until int64
	over  int64
}

// Derives everything that was promised to clients, from requests and answers alone.
type promises struct {
	grants   map[string]*grant
	sessions map[string]*session
}

func gather(history []*operation) promises {
	all := promises{map[string]*grant{}, map[string]*session{}}
	for _, asked := range history {
		if asked.end == "ok" && asked.f == "open_session" {
			ttl := promised(asked)
			all.sessions[asked.value.SessionID] = &session{ttl: ttl, until: asked.call + ttl, over: forever}
		}
	}
	for _, asked := range history {
		found := all.sessions[asked.args.SessionID]
		if found == nil {
			continue
		}
		if asked.f == "keep_alive" && asked.end == "ok" {
			found.until = max(found.until, asked.call+found.ttl)
		}
		closed := asked.f == "close_session" && asked.end == "ok"
		if closed || asked.code == "session_not_found" || asked.code == "session_expired" || asked.code == "session_closed" {
			found.over = min(found.over, asked.ret)
		}
	}
	// The owner's own close ends it, answered or not.
	for _, asked := range history {
		if found := all.sessions[asked.args.SessionID]; found != nil && asked.f == "close_session" {
			found.until = min(found.until, asked.call)
		}
	}
	for _, asked := range history {
		if asked.f != "acquire" || asked.end != "ok" {
			continue
		}
		held := &grant{
			names: asked.args.names(), lockID: asked.value.LockID, sessionID: asked.args.SessionID,
			token: asked.value.Token, until: asked.call + promised(asked), over: forever,
		}
		if owner := all.sessions[held.sessionID]; owner != nil {
			held.until, held.over = owner.until, owner.over
		}
		all.grants[held.lockID] = held
	}
	for _, asked := range history {
		if held := all.grants[asked.args.LockID]; held != nil && asked.f == "extend" && asked.end == "ok" {
			held.until = max(held.until, asked.call+promised(asked))
		}
	}
	// A release without an answer may have taken effect, from its call on.
	for _, asked := range history {
		if held := all.grants[asked.args.LockID]; held != nil && asked.f == "release" && asked.end == "info" {
			held.until = min(held.until, asked.call)
		}
	}
	return all
}

// The steps of every lock.
func lockHistories(history []*operation) map[string][]porcupine.Operation {
	all := gather(history)
	known := map[uint64]bool{}
	for _, held := range all.grants {
		known[held.token] = true
	}
	steps := map[string][]porcupine.Operation{}
	add := func(names []string, process int, s step, call, ret int64) {
		s.known = known
		for _, name := range names {
			steps[name] = append(steps[name], porcupine.Operation{ClientId: process, Input: s, Call: call, Return: ret})
		}
	}
	queues := several(history)
	for _, asked := range history {
		if names, s, told := lockStep(asked, all); told {
			if s.what == "refused" && queues.overlaps(names[0], asked) {
				continue
			}
			if s.what == "unanswered" {
				add(names, asked.process, s, asked.call, asked.call)
			} else {
				add(names, asked.process, s, asked.call, asked.ret)
			}
		}
	}
	for _, held := range all.grants {
		add(held.names, -1, step{what: "may go", token: held.token}, held.until, held.until)
		if held.over < forever {
			add(held.names, -1, step{what: "gone", token: held.token}, held.over, held.over)
		}
	}
	for _, found := range steps {
		clients(found)
	}
	return steps
}

// Acquisitions of several locks, by name. While an acquisition waits, it has its place in every queue, and a request that does not
// wait is refused behind it, even on a lock that nobody holds yet.
type queues map[string][]*operation

func several(history []*operation) queues {
	found := queues{}
	for _, asked := range history {
		if asked.f == "acquire" && len(asked.args.Locks) > 1 {
			for _, name := range asked.args.names() {
				found[name] = append(found[name], asked)
			}
		}
	}
	return found
}

func (q queues) overlaps(name string, asked *operation) bool {
	for _, other := range q[name] {
		if other.call < asked.ret && asked.call < other.ret {
			return true
		}
	}
	return false
}

// Derives what an operation shows about a lock, if anything.
func lockStep(asked *operation, all promises) ([]string, step, bool) {
	names := asked.args.names()
	held := all.grants[asked.args.LockID]
	if asked.f == "acquire" {
		held = all.grants[asked.value.LockID]
	}
	if held != nil {
		names = held.names
	}
	switch {
	case asked.args.Consistency == "stale" || len(names) == 0:
	case asked.f == "acquire" && asked.end == "ok":
		mode := asked.args.Mode
		if mode == "" {
			mode = "exclusive"
		}
		return names, step{
			what: "acquire", token: asked.value.Token, mode: mode, permits: asked.args.Permits, capacity: asked.args.Capacity,
			late: held == nil || held.until < asked.ret,
		}, true
	case asked.f == "acquire" && asked.code == "lock_held" && asked.end == "fail" && len(names) > 1:
		// One of them is held; it is unknown which.
		return nil, step{}, false
	case asked.f == "acquire" && asked.code == "lock_held" && asked.end == "fail":
		return names, step{what: "refused"}, true
	case asked.f == "acquire" && !certain(asked):
		return names, step{what: "unanswered"}, true
	case asked.f == "release" && asked.end == "ok":
		return names, step{what: "release", token: asked.value.Token}, true
	case asked.f == "extend" && asked.end == "ok":
		return names, step{what: "extend", token: asked.value.Token}, true
	case asked.code == "lock_not_held" && asked.end == "fail" && held != nil:
		return names, step{what: "gone", token: held.token}, true
	case asked.f == "check" && asked.end == "ok":
		return names, step{
			what: "check", token: asked.args.Token, status: asked.value.Status, newest: asked.value.Newest,
		}, true
	case asked.f == "get_lock" && asked.end == "ok":
		tokens := []uint64{}
		for _, one := range asked.value.Holders {
			tokens = append(tokens, one.Token)
		}
		return names, step{what: "look", holders: tokens}, true
	case asked.f == "get_lock" && asked.code == "lock_not_found":
		return names, step{what: "look"}, true
	}
	return nil, step{}, false
}

// Whether an acquisition that was not granted is known to have left nothing behind, not even briefly.
func certain(asked *operation) bool {
	if asked.end != "fail" {
		return false
	}
	switch asked.code {
	case "no_leader", "overloaded", "shutting_down", "unreachable", "disk_full", "wait_timeout", "deadlock",
		"limit_exceeded", "lock_delayed", "session_not_found", "invalid_argument", "mode_mismatch", "capacity_mismatch",
		"unauthenticated", "permission_denied", "principal_suspended", "token_revoked", "token_expired":
		return true
	}
	return strings.HasPrefix(asked.code, "lock_held")
}

// Porcupine needs clients that do one thing at a time. The calls of a process already are; all others get their own
// client numbers.
func clients(operations []porcupine.Operation) {
	sort.SliceStable(operations, func(i, j int) bool { return operations[i].Call < operations[j].Call })
	free := map[int]int64{}
	for i := range operations {
		one := &operations[i]
		for client := 0; ; client++ {
			if until, taken := free[client]; !taken || until < one.Call {
				one.ClientId = client
				free[client] = one.Return
				break
			}
		}
	}
}
