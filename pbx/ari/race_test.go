//go:build race

package ari

func init() { step = 7 }
