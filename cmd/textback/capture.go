package main

import (
	"errors"

	"textback/cmd/textback/config"
)

// captures opens the network interfaces.
func (t *tap) captures(cfg *config.Config) error {
	if len(cfg.PBX.SIP.Capture.Interfaces) > 0 {
		return errors.New("capture is not there yet")
	}
	return nil
}
