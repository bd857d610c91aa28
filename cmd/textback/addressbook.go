package main

import (
	"path/filepath"
	"slices"

	"textback/cmd/textback/config"
	"textback/rules"
	"textback/rules/contacts"
	"textback/rules/strict"
)

// addressBook reads the contact files that textback.yaml and the rules name; thorough holds
// every number against its numbering plan. The problems are the files'; nothing is in
// the book when one is more than a warning. A lookup over HTTP is not asked: it
// would tell the CRM of calls that nobody makes.
func addressBook(cfg *config.Config, r *rules.Rules, rulesPath string, thorough bool) (*contacts.Book, []strict.Problem) {
	files := slices.Clone(cfg.Contacts.Files)
	for _, f := range r.Contacts().Files {
		if !filepath.IsAbs(f) {
			f = filepath.Join(filepath.Dir(rulesPath), f)
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		return contacts.Of(nil), nil
	}
	opt := cfg.AddressBooks()
	opt.Thorough = thorough
	b, problems := contacts.Open(files, opt)
	if b == nil {
		b = contacts.Of(nil)
	}
	return b, problems
}
