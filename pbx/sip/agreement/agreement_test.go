package agreement

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"textback/pbx"
	"textback/pbx/ari"
	"textback/pbx/lab"
	"textback/pbx/sip"
	"textback/pbx/sip/hep"
	"textback/pbx/sip/nic"
)

func TestMain(m *testing.M) { lab.Main(m) }

var (
	update = flag.Bool("update", false, "write AGREEMENT.md, and the messages of the run to testdata")
	table  = "AGREEMENT.md"
)

// lacks says, of each scenario on which the wire differs from the PBX's own
// events, what the wire does not show. A scenario that agrees must not be here.
var lacks = map[string]string{
	"declined_announcement": "an announcement after the phones answers like a mailbox",
	"unregistered":          "no message is ever sent to a phone that is not registered: the outcome is known by the trunk's answer, the phone is not",
	"voicemail_message":     "a mailbox inside the PBX answers like a menu; known once the line stands in pbx.sip.mailboxes",
	"voicemail_greeting":    "a mailbox inside the PBX answers like a menu; known once the line stands in pbx.sip.mailboxes",
	"unregistered_greeting": "no message is ever sent to the phone, and the mailbox inside the PBX answers like a menu",
	"queue_declined":        "a queue with one phone that was tried once shows what a menu with a phone behind it shows",
}

// who says who is who in the lab.
func who(address string, trunks []string) sip.Config {
	c := sip.Config{AllPhones: true}
	p, err := sip.ParsePrefix(address)
	if err != nil {
		panic(err)
	}
	c.PBX = []netip.Prefix{p}
	for _, t := range trunks {
		p, err := sip.ParsePrefix(t)
		if err != nil {
			panic(err)
		}
		c.Trunks = append(c.Trunks, p)
	}
	return c
}

// seer is a second witness that collects its verdicts.
type seer struct {
	mu      sync.Mutex
	w       *sip.Witness
	t       *pbx.Tracker
	calls   []*pbx.Call
	packets []sip.Packet
	keep    bool
}

func newSeer(c sip.Config) *seer {
	s := &seer{t: pbx.NewTracker(sip.Tracker(pbx.Config{Site: "lab", Region: "US"}))}
	s.t.OnCall = func(c *pbx.Call) { s.calls = append(s.calls, c) }
	s.w = sip.NewWitness(c, s.t.Feed)
	return s
}

func (s *seer) handle(p *sip.Packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keep {
		q := *p
		q.Payload = slices.Clone(p.Payload)
		s.packets = append(s.packets, q)
	}
	s.w.Handle(p)
}

func (s *seer) verdicts() []*pbx.Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w.Flush()
	s.t.Flush(s.w.Now())
	return s.calls
}

// verdict is all of a call that two witnesses should agree on.
func verdict(c *pbx.Call) string {
	out := string(c.Outcome)
	if string(c.Reason) != string(c.Outcome) && c.Reason != "" {
		out += " (" + string(c.Reason) + ")"
	}
	if !c.Certain {
		out += ", not certain"
	}
	if c.Direction == pbx.Outbound {
		out = "out: " + out
	}
	if c.Caller.Anonymous {
		out += ", withheld"
	}
	if by := c.AnsweredBy; by != nil {
		if by.External {
			out += " by outside"
		} else {
			out += " by " + role(by.Extension)
		}
	}
	if c.Forwarded {
		out += ", forwarded"
	}
	if c.EndedBy != "" {
		out += ", ended by " + string(c.EndedBy)
	}
	var tried []string
	for _, a := range c.Attempts {
		tried = append(tried, role(a.Extension)+" "+string(a.Result))
	}
	slices.Sort(tried)
	if tried != nil {
		out += ": " + strings.Join(tried, ", ")
	}
	return out
}

// role is the lab's letter for an extension.
func role(ext string) string {
	if len(ext) == 4 && ext[0] == '1' {
		return string(rune('a' + ext[3] - '1'))
	}
	return "outside"
}

// of are a scenario's calls in order.
func of(calls []*pbx.Call, s *lab.Scenario) (out []*pbx.Call) {
	for _, c := range calls {
		if c.Caller.Number == s.Number || c.Caller.Number == "" && c.Line.Number == s.Line {
			out = append(out, c)
		}
	}
	slices.SortStableFunc(out, func(a, b *pbx.Call) int { return cmp.Compare(a.StartedAt.UnixNano(), b.StartedAt.UnixNano()) })
	return out
}

func all(calls []*pbx.Call, s *lab.Scenario) string {
	var out []string
	for _, c := range of(calls, s) {
		out = append(out, verdict(c))
	}
	if out == nil {
		return "no call"
	}
	return strings.Join(out, "; ")
}

func gaps(calls []*pbx.Call, s *lab.Scenario) string {
	var out []string
	for _, c := range of(calls, s) {
		for _, g := range c.Gaps {
			out = append(out, string(g))
		}
	}
	return strings.Join(out, " ")
}

// views are what three ways of looking saw of one version.
type views struct{ ari, hep, wire []*pbx.Call }

// Every scenario, three ways at once, on both versions.
func TestAgreement(t *testing.T) {
	seen := make([]views, len(lab.Versions))
	t.Run("calls", func(t *testing.T) {
		for i, v := range lab.Versions {
			t.Run(v.String(), func(t *testing.T) {
				p := lab.Start(t, v)
				for try := 1; ; try++ {
					var err error
					if seen[i], err = look(t, p); err == nil {
						return
					}
					if try == 3 {
						t.Fatal(err)
					}
					t.Logf("the lab stumbled: %v", err)
					if err := p.Restart(); err != nil { // the phones left legs behind
						t.Fatal(err)
					}
				}
			})
		}
	})
	if t.Failed() {
		return
	}
	got := report(t, seen)
	if *update {
		if err := os.WriteFile(table, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		a, b := strings.Split(got, "\n"), strings.Split(string(want), "\n")
		for i := range max(len(a), len(b)) {
			if i >= len(a) || i >= len(b) || a[i] != b[i] {
				t.Errorf("line %d of %s is\n%s\nand should be\n%s", i+1, table, strings.Join(b[min(i, len(b)):min(i+1, len(b))], ""), strings.Join(a[min(i, len(a)):min(i+1, len(a))], ""))
			}
		}
		t.Errorf("write it anew: go test ./pbx/sip/agreement -run TestAgreement -update")
	}
}

// look plays every scenario and watches in three ways.
func look(t *testing.T, p *lab.PBX) (views, error) {
	ctx, cancel := context.WithCancel(t.Context())
	var sources sync.WaitGroup
	defer sources.Wait()
	defer cancel()
	wire, copies := newSeer(who(p.Address(), p.Trunks())), newSeer(who(p.Address(), p.Trunks()))
	wire.keep = *update
	l, err := hep.Listen(hep.Options{Listen: p.HEP(), Key: lab.HEPKey, Handle: copies.handle})
	if err != nil {
		t.Fatal(err)
	}
	c, err := nic.Open(nic.Options{Interface: "lo", Ports: []nic.Ports{{First: 5060, Last: 5060}, {First: 5070, Last: 5070}}, Handle: wire.handle})
	if err != nil {
		t.Fatal(err)
	}
	sources.Go(func() { _ = l.Run(ctx) })
	sources.Go(func() { _ = c.Run(ctx) })

	var inside []*pbx.Call
	tr := pbx.NewTracker(pbx.Config{Site: "lab", Source: "ari", Region: "US"})
	tr.OnCall = func(c *pbx.Call) { inside = append(inside, c) }
	attached := make(chan struct{})
	var once sync.Once
	client, err := ari.NewClient(ari.Options{URL: p.URL(), User: lab.ARIUser, Password: lab.ARIPassword, App: "agreement",
		Observe: ari.Observer{Attached: func(string) { once.Do(func() { close(attached) }) }}}, tr)
	if err != nil {
		t.Fatal(err)
	}
	tr.OnLive = func(c *pbx.Call) {
		if c.State == pbx.StateStarting && c.Direction == pbx.Inbound {
			client.AskWithheld(ctx, c.ID)
		}
	}
	actx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); _ = client.Run(actx) }()
	select {
	case <-attached:
	case <-time.After(30 * time.Second):
		t.Fatal("not attached to ARI")
	}
	err = lab.RunAll(ctx, p, lab.Scenarios(), 6)
	if quiet := p.Quiet(ctx); err == nil {
		err = quiet
	}
	time.Sleep(3 * time.Second) // what is still on its way
	stop()
	<-done
	if n := c.Counts().Dropped["kernel"]; n > 0 {
		err = errors.Join(err, fmt.Errorf("the kernel dropped %d packets", n))
	}
	if n := l.Counts().SIP; n < 900 {
		err = errors.Join(err, fmt.Errorf("only %d messages came by HEP", n))
	}
	if *update && err == nil {
		save(t, fmt.Sprintf("testdata/%v.pcap.gz", p.Version()), p, wire.packets)
	}
	return views{inside, copies.verdicts(), wire.verdicts()}, err
}

// report writes the table, and fails where the three differ for no reason.
func report(t *testing.T, seen []views) string {
	var b strings.Builder
	agree, rows := 0, 0
	for i := range lab.Scenarios() {
		s := &lab.Scenarios()[i]
		var lines []string
		same := true
		for k, v := range lab.Versions {
			in, copies, wire := all(seen[k].ari, s), all(seen[k].hep, s), all(seen[k].wire, s)
			for _, c := range of(seen[k].ari, s) {
				for _, w := range of(seen[k].wire, s) {
					if w.Attempts != nil && len(of(seen[k].ari, s)) == 1 && (c.Ring-w.Ring).Abs() > lab.Tolerance {
						t.Errorf("%s on %v: ring %v by ARI, %v on the wire", s.Name, v, c.Ring, w.Ring)
					}
				}
			}
			mark := func(x string, calls []*pbx.Call) string {
				if x == in {
					return "="
				}
				same = false
				if g := gaps(calls, s); g != "" {
					x += " [" + g + "]"
				}
				return x
			}
			lines = append(lines, fmt.Sprintf("%s | %s | %s |", in, mark(copies, seen[k].hep), mark(wire, seen[k].wire)))
		}
		why, explained := lacks[s.Name]
		switch {
		case same && explained:
			t.Errorf("%s agrees, and is explained as if it did not", s.Name)
		case !same && !explained:
			t.Errorf("%s: the witnesses differ:\n%s", s.Name, strings.Join(lines, "\n"))
		}
		if same {
			agree++
		}
		if slices.Equal(lines[:1], lines[len(lines)-1:]) {
			lines = lines[:1]
		}
		for k, l := range lines {
			name := s.Name
			if len(lines) > 1 {
				name += " (" + lab.Versions[k].String() + ")"
			}
			fmt.Fprintf(&b, "| %s | %s %s |\n", name, l, why)
		}
		rows++
	}
	return fmt.Sprintf(`# Where the witnesses agree

%d scenarios of the lab on real Asterisk 22 and 16, seen at once over ARI, as HEPv3 copies from
res_hep and as a capture of the wire: %d agree in direction, outcome, reason, certainty, who answered, who
ended the call, and what became of each phone. "=" means as over ARI. The last column says what the wire
lacks where they differ; none of these differs on whether a person answered.

Written by `+"`go test ./pbx/sip/agreement -run TestAgreement -update`"+`; the test holds every run to it.

| scenario | ARI | HEP | wire | what the wire lacks |
|---|---|---|---|---|
%s`, rows, agree, b.String())
}

// save writes messages as a capture.
func save(t *testing.T, name string, p *lab.PBX, packets []sip.Packet) {
	t.Helper()
	_ = os.MkdirAll("testdata", 0o755)
	var raw strings.Builder
	w := pcapgo.NewWriterNanos(&raw)
	if err := w.WriteFileHeader(65536, layers.LinkTypeRaw); err != nil {
		t.Fatal(err)
	}
	net, err := netip.ParsePrefix(p.Address() + "/16")
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range packets {
		if !net.Masked().Contains(q.Src.Addr()) {
			continue // the other version's
		}
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: q.Src.Addr().AsSlice(), DstIP: q.Dst.Addr().AsSlice()}
		udp := &layers.UDP{SrcPort: layers.UDPPort(q.Src.Port()), DstPort: layers.UDPPort(q.Dst.Port())}
		_ = udp.SetNetworkLayerForChecksum(ip)
		buf := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ip, udp, gopacket.Payload(q.Payload)); err != nil {
			t.Fatal(err)
		}
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: q.At, CaptureLength: len(buf.Bytes()), Length: len(buf.Bytes())}, buf.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(name, zipped(raw.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
