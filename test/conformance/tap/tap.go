// SPDX-License-Identifier: Apache-2.0

// Package tap writes the Test Anything Protocol. It stands in for the package of that name which the
// runtime-tools programs import and which Debian 12 does not have: the methods those programs call, no more.
package tap

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// T is one stream of test points on standard output.
type T struct {
	count int
	todo  bool
	out   *T
}

// New begins a stream.
func New() *T {
	return &T{}
}

// stream is the T that counts: a Todo view counts in the one it was made from.
func (t *T) stream() *T {
	if t.out != nil {
		return t.out
	}
	return t
}

// Header writes the version line, and the plan when the number of points is known.
func (t *T) Header(points int) {
	fmt.Println("TAP version 13")
	if points > 0 {
		fmt.Printf("1..%d\n", points)
	}
}

// AutoPlan writes the plan after the last point.
func (t *T) AutoPlan() {
	fmt.Printf("1..%d\n", t.stream().count)
}

// Ok writes one point.
func (t *T) Ok(passed bool, description string) {
	s := t.stream()
	s.count++
	word := "ok"
	if !passed {
		word = "not ok"
	}
	if t.todo {
		description += " # TODO"
	}
	fmt.Printf("%s %d - %s\n", word, s.count, description)
}

// Pass writes a point that is ok.
func (t *T) Pass(description string) {
	t.Ok(true, description)
}

// Fail writes a point that is not ok.
func (t *T) Fail(description string) {
	t.Ok(false, description)
}

// Skip writes points that were not tried.
func (t *T) Skip(points int, description string) {
	s := t.stream()
	for ; points > 0; points-- {
		s.count++
		fmt.Printf("ok %d # SKIP %s\n", s.count, description)
	}
}

// Todo gives a view whose failures do not count.
func (t *T) Todo() *T {
	return &T{todo: true, out: t.stream()}
}

// YAML writes a block with details of the last point; JSON is YAML, too.
func (t *T) YAML(details interface{}) error {
	text, err := json.MarshalIndent(details, "  ", "  ")
	if err != nil {
		return err
	}
	fmt.Printf("  ---\n  %s\n  ...\n", text)
	return nil
}

// Diagnostic writes a comment, each line of it marked as one.
func (t *T) Diagnostic(text string) {
	fmt.Fprintln(os.Stdout, "# "+strings.ReplaceAll(text, "\n", "\n# "))
}

// Diagnosticf is Diagnostic with a format.
func (t *T) Diagnosticf(format string, args ...interface{}) {
	t.Diagnostic(fmt.Sprintf(format, args...))
}
