package lab

import "fmt"

// A network is the addresses of one PBX: four of the 256-address blocks of
// 127.<version>.0.0/16, so that many live on one loopback interface.
type network struct {
	version Version
	n       int
}

func (n network) addr(block, host int) string {
	return fmt.Sprintf("127.%d.%d.%d", int(n.version), 4*n.n+block, host)
}

// pbx is where Asterisk itself listens.
func (n network) pbx() string { return n.addr(0, 1) }

// phone is the address of a desk phone; k counts from 1.
func (n network) phone(s *Scenario, k int) string { return n.addr(1, phonesPerScenario*s.index+k) }

// caller is where the k-th call of a scenario from the outside comes from.
func (n network) caller(s *Scenario, k int) string { return n.addr(2, 3*s.index+k+1) }

// far is where a phone outside is reached through the trunk.
func (n network) far(s *Scenario) string { return n.addr(3, s.index+1) }

// hep is where Asterisk sends copies of its SIP messages.
func (n network) hep() string { return n.addr(0, 2) + ":9060" }

// Address is where Asterisk itself talks SIP.
func (p *PBX) Address() string { return p.net.pbx() }

// Trunks are the networks that outside parties are in.
func (p *PBX) Trunks() []string { return []string{p.net.addr(2, 0) + "/24", p.net.addr(3, 0) + "/24"} }

// HEP is where Asterisk sends a copy of each SIP message as HEPv3 over UDP, with
// HEPKey as its key, whether somebody listens there or not.
func (p *PBX) HEP() string { return p.net.hep() }

// HEPKey is the key in the HEP packets.
const HEPKey = "s3cret"
