// Command faults writes docs/faults.md: which faults the service is made for,
// what must happen, and which tests inject them. Run it in the root of the
// repository after a test was added or renamed:
//
//	go run ./cmd/faults
package main

import (
	"fmt"
	"os"
)

func main() {
	const path = "docs/faults.md"
	text, err := page(".")
	if err == nil {
		err = os.WriteFile(path, text, 0o644) //nolint:gosec // a document that everybody may read
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "faults: %v\n", err)
		os.Exit(1)
	}
}
