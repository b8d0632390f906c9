package main

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/anishathalye/porcupine"
)

// One step of a lock, as the model sees it.
type step struct {
	what string
	// The grant that the step is about.
	token             uint64
	mode              string
	permits, capacity uint64
	// The promised time was over before the client got the answer.
	late bool
	// Of a token check.
	status string
	newest uint64
	// Of a read.
	holders []uint64
	// Tokens that a client got as its own. Other tokens belong to grants whose client never got the answer.
	known map[uint64]bool
}

// A holder of a lock.
type holder struct {
	token   uint64
	mode    string
	permits uint64
}

// The state of a lock. Firm holders are still within their promised time. Other holders may have lost the lock at any
// time since, unnoticed. Such a holder never blocks another; once a client saw that it is gone, it is gone.
type lock struct {
	firm, maybe []holder
	// The newest token issued for this name.
	max uint64
	// Since an acquisition went unanswered, the lock may be held by an unknown holder.
	ghosts bool
}

func find(holders []holder, token uint64) (holder, bool) {
	for _, one := range holders {
		if one.token == token {
			return one, true
		}
	}
	return holder{}, false
}

func keep(holders []holder, wanted func(holder) bool) []holder {
	var kept []holder
	for _, one := range holders {
		if wanted(one) {
			kept = append(kept, one)
		}
	}
	return kept
}

func without(holders []holder, token uint64) []holder {
	return keep(holders, func(one holder) bool { return one.token != token })
}

func (l lock) acquire(s step) (bool, lock) {
	if s.token <= l.max {
		return false, l
	}
	used := uint64(0)
	for _, one := range l.firm {
		used += one.permits
		if s.mode == "exclusive" || one.mode == "exclusive" {
			return false, l
		}
	}
	if s.mode == "semaphore" && used+s.permits > s.capacity {
		return false, l
	}
	next := lock{max: s.token, ghosts: l.ghosts}
	next.maybe = keep(l.maybe, func(one holder) bool {
		switch s.mode {
		case "exclusive":
			return false
		case "shared":
			return one.mode == "shared"
		}
		return used+s.permits+one.permits <= s.capacity
	})
	next.firm = append([]holder{}, l.firm...)
	if s.late {
		next.maybe = append(next.maybe, holder{s.token, s.mode, s.permits})
	} else {
		next.firm = append(next.firm, holder{s.token, s.mode, s.permits})
	}
	return true, next
}

// A client has seen that a grant is no longer held.
func (l lock) gone(token uint64) (bool, lock) {
	if _, firm := find(l.firm, token); firm {
		return false, l
	}
	l.maybe = without(l.maybe, token)
	return true, l
}

func (l lock) holds(token uint64) bool {
	_, firm := find(l.firm, token)
	_, maybe := find(l.maybe, token)
	return firm || maybe
}

// Whether a seen token can be held: by a known or an unknown holder.
func (l lock) explains(token uint64, known map[uint64]bool) bool {
	return l.holds(token) || (l.ghosts && !known[token])
}

// Checks that exactly these tokens are held.
func (l lock) look(tokens []uint64, known map[uint64]bool) (bool, lock) {
	seen := map[uint64]bool{}
	for _, token := range tokens {
		if !l.explains(token, known) {
			return false, l
		}
		seen[token] = true
	}
	for _, one := range l.firm {
		if !seen[one.token] {
			return false, l
		}
	}
	l.maybe = keep(l.maybe, func(one holder) bool { return seen[one.token] })
	return true, l
}

func (l lock) check(s step) (bool, lock) {
	if s.status == "not_held" {
		return l.look(nil, s.known)
	}
	if !l.explains(s.newest, s.known) {
		return false, l
	}
	for _, one := range l.firm {
		if one.token > s.newest {
			return false, l
		}
	}
	l.maybe = keep(l.maybe, func(one holder) bool { return one.token <= s.newest })
	if s.status == "held" {
		return l.explains(s.token, s.known), l
	}
	return l.gone(s.token)
}

func (l lock) apply(s step) (bool, lock) {
	switch s.what {
	case "acquire":
		return l.acquire(s)
	case "refused":
		return len(l.firm)+len(l.maybe) > 0 || l.ghosts, l
	case "release":
		if !l.holds(s.token) {
			return false, l
		}
		l.firm, l.maybe = without(l.firm, s.token), without(l.maybe, s.token)
		return true, l
	case "extend":
		return l.holds(s.token), l
	case "gone":
		return l.gone(s.token)
	case "check":
		return l.check(s)
	case "look":
		return l.look(s.holders, s.known)
	case "may go":
		if one, firm := find(l.firm, s.token); firm {
			l.firm = without(l.firm, s.token)
			l.maybe = append(append([]holder{}, l.maybe...), one)
		}
		return true, l
	case "unanswered":
		l.ghosts = true
		return true, l
	}
	panic("no step " + s.what)
}

var lockModel = porcupine.Model{
	Init: func() any { return lock{} },
	Step: func(state, input, _ any) (bool, any) {
		legal, next := state.(lock).apply(input.(step))
		return legal, next
	},
	Equal: func(one, other any) bool { return reflect.DeepEqual(one, other) },
	DescribeOperation: func(input, _ any) string {
		s := input.(step)
		switch s.what {
		case "acquire":
			return fmt.Sprintf("acquire %s -> %d", s.mode, s.token)
		case "check":
			return fmt.Sprintf("check %d -> %s, newest %d", s.token, s.status, s.newest)
		case "look":
			return fmt.Sprintf("look -> %v", s.holders)
		case "refused", "unanswered":
			return s.what
		}
		return fmt.Sprintf("%s %d", s.what, s.token)
	},
	DescribeState: func(state any) string {
		l := state.(lock)
		tokens := func(holders []holder) string {
			texts := []string{}
			for _, one := range holders {
				texts = append(texts, fmt.Sprint(one.token))
			}
			return strings.Join(texts, ",")
		}
		return fmt.Sprintf("held [%s] maybe [%s] max %d ghosts %v", tokens(l.firm), tokens(l.maybe), l.max, l.ghosts)
	},
}
