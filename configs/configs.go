// Package configs holds the shipped example configuration, so that a binary
// alone can show itself, and the JSON Schemas by which editors complete and
// check such files ("textback schema" prints them; go test -update writes them anew).
package configs

import _ "embed"

// Rules is rules.yaml as shipped.
//
//go:embed rules.yaml
var Rules []byte

// Wiring is textback.yaml as shipped: it shows every key, each with its description.
//
//go:embed textback.yaml
var Wiring []byte
