package main

import (
	"path/filepath"

	"textback/cmd/textback/config"
	"textback/rules"
	"textback/rules/contacts"
)

// addressBook reads the contact files that the rules name. The problems are those of the
// files; the book is empty when one is more than a warning. A lookup over HTTP is not asked: it
// would tell the CRM of calls that nobody makes.
func addressBook(cfg *config.Config, r *rules.Rules, rulesPath string) (*contacts.Book, []rules.Problem) {
	var files []string
	for _, f := range r.Contacts().Files {
		if !filepath.IsAbs(f) {
			f = filepath.Join(filepath.Dir(rulesPath), f)
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		return contacts.Of(nil), nil
	}
	b, problems := contacts.Open(files, contacts.Options{Region: cfg.Region})
	if b == nil {
		b = contacts.Of(nil)
	}
	return b, problems
}
