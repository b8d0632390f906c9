package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
)

// Whether a history, given as one event per line, is linearizable on every name.
func linearizable(t *testing.T, lines ...string) bool {
	t.Helper()
	path := filepath.Join(t.TempDir(), "history.jsonl")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	history, err := read(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, operations := range lockHistories(history) {
		if !porcupine.CheckOperations(lockModel, operations) {
			return false
		}
	}
	for _, operations := range registerHistories(history) {
		if !porcupine.CheckOperations(registerModel, operations) {
			return false
		}
	}
	return true
}

const (
	asks1  = `{"t":1,"p":1,"op":1,"type":"invoke","f":"acquire","args":{"name":"a","ttl_ms":1000}}`
	gets1  = `{"t":2,"op":1,"type":"ok","value":{"lock_id":"l-1.0","fencing_token":1}}`
	asks2  = `{"t":3,"p":2,"op":2,"type":"invoke","f":"acquire","args":{"name":"a","ttl_ms":1000}}`
	gets2  = `{"t":4,"op":2,"type":"ok","value":{"lock_id":"l-2.0","fencing_token":2}}`
	late2  = `{"t":1000000009,"op":2,"type":"ok","value":{"lock_id":"l-2.0","fencing_token":2}}`
	frees1 = `{"t":5,"p":1,"op":3,"type":"invoke","f":"release","args":{"lock_id":"l-1.0","name":"a"}}`
	freed1 = `{"t":6,"op":3,"type":"ok","value":{"lock_id":"l-1.0","fencing_token":1}}`
	lost1  = `{"t":6,"op":3,"type":"fail","error":"lock_not_held"}`
)

func TestTwoHoldersAtOnceAreFound(t *testing.T) {
	if linearizable(t, asks1, gets1, asks2, gets2) {
		t.Error("the second was granted while the first still had its time")
	}
	if !linearizable(t, asks1, gets1, asks2, frees1, freed1, late2) {
		t.Error("the second was granted after the first gave back")
	}
	if !linearizable(t, asks1, gets1, asks2, late2) {
		t.Error("the first's time was over")
	}
}

func TestALossBeforeItsTimeIsFound(t *testing.T) {
	if linearizable(t, asks1, gets1, frees1, lost1) {
		t.Error("a grant ended before its time to live")
	}
}

func TestALowerTokenIsFound(t *testing.T) {
	again := strings.Replace(late2, `"fencing_token":2`, `"fencing_token":1`, 1)
	if linearizable(t, asks1, gets1, frees1, freed1, asks2, again) {
		t.Error("the token did not rise")
	}
}

func TestAnUnansweredAcquireMayHold(t *testing.T) {
	unknown := `{"t":2,"op":1,"type":"info","error":"outcome_unknown"}`
	refused := `{"t":4,"op":2,"type":"fail","error":"lock_held"}`
	if !linearizable(t, asks1, unknown, asks2, refused) {
		t.Error("the one nobody heard of may hold it")
	}
	if linearizable(t, asks2, refused) {
		t.Error("nobody can hold it")
	}
}

func TestAStaleRegisterIsFound(t *testing.T) {
	advance := `{"t":1,"p":1,"op":1,"type":"invoke","f":"advance_register","args":{"name":"r","fencing_token":5}}`
	advanced := `{"t":2,"op":1,"type":"ok","value":{"high_water":5}}`
	get := `{"t":3,"p":1,"op":2,"type":"invoke","f":"get_register","args":{"name":"r"}}`
	if linearizable(t, advance, advanced, get, `{"t":4,"op":2,"type":"fail","error":"register_not_found"}`) {
		t.Error("the register was there")
	}
	if !linearizable(t, advance, advanced, get, `{"t":4,"op":2,"type":"ok","value":{"high_water":5}}`) {
		t.Error("that is its value")
	}
}

const (
	stands1  = `{"t":1,"p":1,"op":1,"type":"invoke","f":"campaign","args":{"name":"e","ttl_ms":1000}}`
	leads1   = `{"t":2,"op":1,"type":"ok","value":{"candidate_id":"l-1.0","fencing_token":1}}`
	stands2  = `{"t":3,"p":2,"op":2,"type":"invoke","f":"campaign","args":{"name":"e","ttl_ms":1000}}`
	leads2   = `{"t":4,"op":2,"type":"ok","value":{"candidate_id":"l-2.0","fencing_token":2}}`
	after2   = `{"t":9,"op":2,"type":"ok","value":{"candidate_id":"l-2.0","fencing_token":2}}`
	resigns  = `{"t":5,"p":1,"op":3,"type":"invoke","f":"resign","args":{"name":"e","fencing_token":1}}`
	resigned = `{"t":6,"op":3,"type":"ok","value":{"candidate_id":"l-1.0","fencing_token":1}}`
	says1    = `{"t":10,"p":1,"op":4,"type":"invoke","f":"proclaim","args":{"name":"e","fencing_token":1,"value":"v"}}`
	said1    = `{"t":11,"op":4,"type":"ok","value":{"candidate_id":"l-1.0","fencing_token":1,"value":"v"}}`
	hushed1  = `{"t":11,"op":4,"type":"fail","error":"token_superseded"}`
	looks    = `{"t":12,"p":3,"op":5,"type":"invoke","f":"get_election","args":{"name":"e"}}`
	sees2    = `{"t":13,"op":5,"type":"ok","value":{"name":"e","leader":{"fencing_token":2}}}`
	sees1    = `{"t":13,"op":5,"type":"ok","value":{"name":"e","leader":{"fencing_token":1}}}`
	nobody   = `{"t":13,"op":5,"type":"ok","value":{"name":"e"}}`
)

func TestElectionHasOneLeader(t *testing.T) {
	if linearizable(t, stands1, leads1, stands2, leads2) {
		t.Error("the second was elected while the first still led")
	}
	if !linearizable(t, stands1, leads1, stands2, resigns, resigned, after2, says1, hushed1, looks, sees2) {
		t.Error("the second was elected after the first resigned")
	}
	if linearizable(t, stands1, leads1, stands2, resigns, resigned, after2, says1, said1) {
		t.Error("the first proclaimed after it had resigned")
	}
	for _, wrong := range []string{sees1, nobody} {
		if linearizable(t, stands1, leads1, stands2, resigns, resigned, after2, looks, wrong) {
			t.Errorf("the second leads, not %s", wrong)
		}
	}
}
