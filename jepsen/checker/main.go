// The independent referee of jepsen: decides for each name whether the answers of clients are linearizable.
//
// It reads history.jsonl in the directory of a run and ignores the revisions of answers: only requests, answers and times
// count. It prints a ruling as JSON, and writes a picture next to the history for each name that is not linearizable.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// How long one name may take; after that there is no verdict.
const timeout = 60 * time.Second

type illegal struct {
	Name       string `json:"name"`
	Operations int    `json:"operations"`
	Picture    string `json:"picture"`
}

type ruling struct {
	Names      int       `json:"names"`
	Operations int       `json:"operations"`
	Unknown    []string  `json:"unknown"`
	Illegal    []illegal `json:"illegal"`
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: jepsen-checker DIRECTORY")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(dir string) error {
	history, err := read(filepath.Join(dir, "history.jsonl"))
	if err != nil {
		return err
	}
	result := ruling{Unknown: []string{}, Illegal: []illegal{}}
	for _, model := range []struct {
		porcupine.Model
		histories map[string][]porcupine.Operation
	}{{lockModel, lockHistories(history)}, {registerModel, registerHistories(history)}} {
		names := make([]string, 0, len(model.histories))
		for name := range model.histories {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			if err := judge(dir, name, model.Model, model.histories[name], &result); err != nil {
				return err
			}
		}
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

func judge(dir, name string, model porcupine.Model, operations []porcupine.Operation, result *ruling) error {
	result.Names++
	result.Operations += len(operations)
	verdict, info := porcupine.CheckOperationsVerbose(model, operations, timeout)
	switch verdict {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		result.Unknown = append(result.Unknown, name)
		return nil
	}
	picture := filepath.Join(dir, "porcupine-"+strings.ReplaceAll(name, "/", "-")+".html")
	file, err := os.Create(picture)
	if err != nil {
		return err
	}
	if err := porcupine.Visualize(model, info, file); err != nil {
		file.Close()
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	result.Illegal = append(result.Illegal, illegal{name, len(operations), picture})
	return nil
}
