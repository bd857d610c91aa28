//go:build race

package rules

// The race detector makes pools forget, so allocations are not counted under it.
func init() { raced = true }
