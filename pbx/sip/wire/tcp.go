package wire

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/reassembly"

	"textback/pbx/sip"
)

// Bounds of TCP reassembly.
const (
	maxFlows     = 20_000
	pagesPerFlow = 64   // of about 1,900 bytes, while a segment is missing
	pagesInAll   = 8192 // 16 MB
	gapWait      = 2 * time.Second
	flowIdle     = 10 * time.Minute
)

// streams are the TCP connections that have shown SIP or HEP.
type streams struct {
	a         *Assembler
	assembler *reassembly.Assembler
	known     map[flow]*known
	last      uint64            // number of the newest connection
	live      int               // connections that the assembler holds, old ones of known flows too
	ends      [2]netip.AddrPort // source and destination of the segment at hand
	swept     time.Time
	ctx       captured
	tcp       layers.TCP
}

// flow is a connection, the lower end first.
type flow struct{ lo, hi netip.AddrPort }

func flowOf(a, b netip.AddrPort) flow {
	if b.Compare(a) < 0 {
		a, b = b, a
	}
	return flow{a, b}
}

// known is a flow's present connection. A phone that was switched off comes again
// from the same port: to the assembler each of its connections is one of its own,
// or it would take the new one's bytes for old ones sent again.
type known struct {
	id   uint64
	at   time.Time // when it last spoke
	next [2]uint32 // sequence numbers, of the lower end and of the higher
	has  [2]bool
}

// far is more than a window: a segment that begins a message so far away from the
// one before belongs to another connection, whose SYN was not seen.
const far = 8 << 20

// another tells whether a segment that begins a message is another connection's.
func (k *known) another(side int, seq uint32) bool {
	d := int32(seq - k.next[side])
	return k.has[side] && (d > far || d < -far)
}

// captured is the reassembly's context: when a segment was captured.
type captured struct{ ci gopacket.CaptureInfo }

func (c *captured) GetCaptureInfo() gopacket.CaptureInfo { return c.ci }

func (t *streams) init(a *Assembler) {
	t.a, t.known = a, map[flow]*known{}
	t.assembler = reassembly.NewAssembler(reassembly.NewStreamPool(factory{a}))
	t.assembler.MaxBufferedPagesPerConnection, t.assembler.MaxBufferedPagesTotal = pagesPerFlow, pagesInAll
}

// segment takes one TCP segment.
func (t *streams) segment(src, dst netip.Addr, b []byte, at time.Time) {
	if len(b) < 20 {
		t.a.drop("truncated")
		return
	}
	head := int(b[12]>>4) * 4
	if head < 20 || head > len(b) {
		t.a.drop("truncated")
		return
	}
	s, d := netip.AddrPortFrom(src, binary.BigEndian.Uint16(b)), netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[2:]))
	f, side := flowOf(s, d), 0
	if s != f.lo {
		side = 1
	}
	seq, flags, p := binary.BigEndian.Uint32(b[4:]), b[13], b[head:]
	if flags&flagSYN != 0 {
		delete(t.known, f) // it begins anew
	}
	k := t.known[f]
	if k == nil || k.another(side, seq) {
		begins := sip.Begins(p) || t.a.opt.HEP != nil && len(p) >= 6 && looksHEP(append(p[:len(p):len(p)], make([]byte, 16)...))
		switch {
		case !begins && k == nil:
			return
		case begins && t.live >= maxFlows:
			t.a.drop("too many connections")
			return
		case begins:
			t.last++
			k = &known{id: t.last}
			t.known[f] = k
		}
	}
	k.at = at
	if len(p) > 0 && !k.another(side, seq) {
		k.next[side], k.has[side] = seq+uint32(len(p)), true
	}
	if err := t.tcp.DecodeFromBytes(b, gopacket.NilDecodeFeedback); err != nil {
		t.a.drop("truncated")
		return
	}
	t.ends = [2]netip.AddrPort{s, d}
	t.ctx.ci = gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(b), Length: len(b)}
	t.assembler.AssembleWithContext(k.flow(side), &t.tcp, &t.ctx)
	if flags&flagRST != 0 {
		delete(t.known, f)
	}
	t.expire(at)
}

const (
	flagSYN = 2
	flagRST = 4
)

// flow names the connection to the assembler, in the place of addresses.
func (k *known) flow(side int) gopacket.Flow {
	var ends [2][9]byte
	for i := range ends {
		binary.BigEndian.PutUint64(ends[i][:], k.id)
		ends[i][8] = byte(i)
	}
	return gopacket.NewFlow(layers.EndpointIPv6, ends[side][:], ends[1-side][:])
}

// expire passes over what is missing for too long, and forgets silent connections.
func (t *streams) expire(now time.Time) {
	if now.Sub(t.swept).Abs() < gapWait/2 { // more, if the clock was set
		return
	}
	t.swept = now
	t.assembler.FlushWithOptions(reassembly.FlushOptions{T: now.Add(-gapWait), TC: now.Add(-flowIdle)})
	for f, k := range t.known {
		if now.Sub(k.at) > flowIdle {
			delete(t.known, f)
		}
	}
}

func (t *streams) close() { t.assembler.FlushAll() }

type factory struct{ a *Assembler }

// New begins a connection; both directions are told apart by their own Stream.
func (f factory) New(_, _ gopacket.Flow, _ *layers.TCP, _ reassembly.AssemblerContext) reassembly.Stream {
	f.a.tcp.live++
	return &connection{a: f.a, ends: f.a.tcp.ends}
}

// connection is one TCP connection, from the end that was seen first.
type connection struct {
	a    *Assembler
	ends [2]netip.AddrPort
	half [2]struct {
		sip   sip.Stream
		hep   []byte
		isHEP bool
	}
}

// Accept takes every segment: a capture may begin in mid-connection.
func (c *connection) Accept(_ *layers.TCP, _ gopacket.CaptureInfo, _ reassembly.TCPFlowDirection, _ reassembly.Sequence, start *bool, _ reassembly.AssemblerContext) bool {
	*start = true
	return true
}

// ReassembledSG takes bytes in their order.
func (c *connection) ReassembledSG(sg reassembly.ScatterGather, ac reassembly.AssemblerContext) {
	dir, _, _, skip := sg.Info()
	n, _ := sg.Lengths()
	b := sg.Fetch(n)
	from := 0
	if dir == reassembly.TCPDirServerToClient {
		from = 1
	}
	h := &c.half[from]
	if skip > 0 {
		h.sip.Lost()
		h.hep = h.hep[:0]
		c.a.drop("segment lost")
	}
	at := ac.GetCaptureInfo().Timestamp
	if !h.isHEP && c.a.opt.HEP != nil && h.sip.Idle() && len(b) >= 4 {
		h.isHEP = magic(b) == 0
	}
	if h.isHEP {
		h.hep = c.hep(append(h.hep, b...), at)
		return
	}
	if junk := h.sip.Feed(b, func(m []byte) { c.a.message(c.ends[from], c.ends[1-from], m, false, at) }); junk > 0 {
		c.a.drop("no SIP")
	}
}

// magic is where the next HEP packet begins in b, which may end within its first
// four bytes; len(b) when none does.
func magic(b []byte) int {
	for i := range b {
		if m := b[i:min(i+4, len(b))]; string(m) == "HEP3"[:len(m)] || string(m) == "EEP3"[:len(m)] {
			return i
		}
	}
	return len(b)
}

// hep takes the whole packets off b, which is its own, and returns the rest.
func (c *connection) hep(b []byte, at time.Time) []byte {
	for len(b) > 0 {
		if skip := magic(b); skip > 0 {
			c.a.drop("no HEP") // up to the next packet
			b = b[skip:]
			continue
		}
		if len(b) < 6 {
			break
		}
		n := int(binary.BigEndian.Uint16(b[4:]))
		if n < 6 {
			b = b[1:]
			continue
		}
		if n > len(b) {
			break
		}
		c.a.hep(b[:n], at)
		b = b[n:]
	}
	if len(b) == 0 {
		return nil
	}
	return b
}

// ReassemblyComplete ends the connection.
func (c *connection) ReassemblyComplete(reassembly.AssemblerContext) bool {
	c.a.tcp.live--
	return true
}
