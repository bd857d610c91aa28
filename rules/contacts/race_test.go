//go:build race

package contacts

func init() { step = 4 }
