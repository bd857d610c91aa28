package main

import (
	"textback/cmd/textback/config"
	"textback/rules"
	"textback/rules/ruletest"
)

type schemaCmd struct {
	Of string `arg:"" enum:"rules,config,test" help:"Of which file: rules (rules.yaml), config (textback.yaml) or test (rules.test.yaml)."`
}

// Run prints the JSON Schema by which editors complete and check a file.
func (c schemaCmd) Run(con console) error {
	b, err := map[string]func() ([]byte, error){"rules": rules.Schema, "config": config.Schema, "test": ruletest.Schema}[c.Of]()
	if err != nil {
		return err
	}
	_, err = con.out.Write(b)
	return err
}
