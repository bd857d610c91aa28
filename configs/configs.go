// Package configs holds the shipped example configuration, so that a binary
// alone can show itself.
package configs

import _ "embed"

// Rules is rules.yaml as shipped.
//
//go:embed rules.yaml
var Rules []byte
