package main

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// One operation on a high-water register. Value 0 means that the register does not exist.
type registerStep struct {
	what  string
	token uint64
	// The answered value; not set when `unanswered`.
	value      uint64
	unanswered bool
}

func (s registerStep) apply(state uint64) (bool, uint64) {
	switch s.what {
	case "advance":
		if s.unanswered {
			return true, max(state, s.token)
		}
		return s.token >= state && s.value == s.token, s.token
	case "superseded":
		return state > s.token, state
	case "get":
		return state == s.value, state
	case "delete":
		if s.unanswered {
			return true, 0
		}
		return state != 0 && state == s.value, 0
	}
	panic("no step " + s.what)
}

var registerModel = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, input, _ any) (bool, any) {
		legal, next := input.(registerStep).apply(state.(uint64))
		return legal, next
	},
	DescribeOperation: func(input, _ any) string {
		s := input.(registerStep)
		if s.unanswered {
			return fmt.Sprintf("%s %d ?", s.what, s.token)
		}
		return fmt.Sprintf("%s %d -> %d", s.what, s.token, s.value)
	},
	DescribeState: func(state any) string { return fmt.Sprint(state) },
}

// The steps of every register.
func registerHistories(history []*operation) map[string][]porcupine.Operation {
	steps := map[string][]porcupine.Operation{}
	for _, asked := range history {
		s := registerStep{token: asked.args.Token, value: asked.value.HighWater}
		switch {
		case asked.args.Consistency == "stale":
			continue
		case asked.f == "advance_register" && asked.end == "ok":
			s.what = "advance"
		case asked.f == "advance_register" && asked.end == "info":
			s.what, s.unanswered = "advance", true
		case asked.f == "advance_register" && asked.code == "token_superseded":
			s.what = "superseded"
		case asked.f == "get_register" && asked.end == "ok":
			s.what = "get"
		case asked.f == "get_register" && asked.code == "register_not_found":
			s.what = "get"
		case asked.f == "delete_register" && asked.end == "ok":
			s.what = "delete"
		case asked.f == "delete_register" && asked.end == "info":
			s.what, s.unanswered = "delete", true
		case asked.f == "delete_register" && asked.code == "register_not_found":
			s.what = "get"
		default:
			continue
		}
		name := "register " + asked.args.Name
		steps[name] = append(steps[name], porcupine.Operation{Input: s, Call: asked.call, Return: asked.ret})
	}
	for _, found := range steps {
		clients(found)
	}
	return steps
}
