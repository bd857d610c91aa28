// Package agreement holds the two witnesses against each other: the same real
// calls seen by ARI, by copies that Asterisk sends (HEP) and by a capture of the
// wire, on every version in the lab. AGREEMENT.md is what came out of it, written by
//
//	go test ./pbx/sip/agreement -run TestAgreement -update
//
// and testdata/ the messages of one such run, over which the properties of the
// second witness are tested. The package has tests only.
package agreement
