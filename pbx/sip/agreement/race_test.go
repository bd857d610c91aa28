//go:build race

package agreement

func init() { step = 25 }
