package main

import (
	"textback/cmd/textback/config"
	"textback/rules/contacts"
	"textback/rules/strict"
)

// addressBook reads the contact files that textback.yaml names; thorough holds
// every number against its numbering plan. The problems are the files'; nothing is in
// the book when one is more than a warning. A lookup over HTTP is not asked: it
// would tell the CRM of calls that nobody makes.
func addressBook(cfg *config.Config, thorough bool) (*contacts.Book, []strict.Problem) {
	if len(cfg.Contacts.Files) == 0 {
		return contacts.Of(nil), nil
	}
	opt := cfg.AddressBooks()
	opt.Thorough = thorough
	b, problems := contacts.Open(cfg.Contacts.Files, opt)
	if b == nil {
		b = contacts.Of(nil)
	}
	return b, problems
}
