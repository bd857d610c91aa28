package wire

import (
	"net/netip"
	"slices"
	"time"

	"textback/pbx/sip"
)

// Bounds of what waits for its missing fragments. The libraries keep every list
// until they are told to forget it, which a flood of first fragments would use.
const (
	maxDatagrams = 512
	maxFragments = 64
	maxDatagram  = 1<<16 - 1
	fragmentsFor = 30 * time.Second // RFC 791 and 8200 say 15 to 60 s
)

type fragKey struct {
	src, dst netip.Addr
	id       uint32
	proto    uint8
}

type datagram struct {
	parts []part
	total int // payload length, -1 until the last fragment is there
	first time.Time
	cut   bool
	ours  bool // its first fragment is there and begins a message
}

type part struct {
	off int
	b   []byte
}

// fragments are the datagrams that are not whole yet.
type fragments struct {
	m     map[fragKey]*datagram
	order []waiting // oldest first; may hold some that are whole or dropped by now
}

type waiting struct {
	fragKey
	d *datagram
}

func (f *fragments) live(w waiting) bool { return f.m[w.fragKey] == w.d }

// begin makes room for a datagram's first fragment.
func (a *Assembler) begin(k fragKey, at time.Time) *datagram {
	f := &a.frags
	if f.m == nil {
		f.m = map[fragKey]*datagram{}
	}
	if len(f.order) >= 2*maxDatagrams {
		f.order = slices.DeleteFunc(f.order, func(w waiting) bool { return !f.live(w) })
	}
	for len(f.m) >= maxDatagrams {
		a.giveUp()
	}
	d := &datagram{total: -1, first: at}
	f.m[k] = d
	f.order = append(f.order, waiting{k, d})
	return d
}

// giveUp drops the oldest datagram. Only a message's is an admin's business: an
// interface's filter lets later fragments of everything through.
func (a *Assembler) giveUp() {
	f := &a.frags
	if w := f.order[0]; f.live(w) {
		delete(f.m, w.fragKey)
		if w.d.ours {
			a.drop("fragment lost")
		}
	}
	f.order[0] = waiting{}
	f.order = f.order[1:]
}

func (a *Assembler) fragment(k fragKey, off int, more bool, b []byte, cut bool, at time.Time) {
	f := &a.frags
	d := f.m[k]
	bad := func() {
		// An attack or an error (RFC 5722): none of the datagram can be relied on.
		delete(f.m, k)
		a.drop("bad fragment")
	}
	if len(b) == 0 || off+len(b) > maxDatagram || more && !cut && len(b)%8 != 0 {
		bad()
		return
	}
	if d == nil {
		d = a.begin(k, at)
	}
	d.cut = d.cut || cut
	end, have := 0, len(b)
	for _, p := range d.parts {
		if p.off == off && len(p.b) == len(b) {
			return // the same again
		}
		if off < p.off+len(p.b) && p.off < off+len(b) {
			bad()
			return
		}
		end, have = max(end, p.off+len(p.b)), have+len(p.b)
	}
	end = max(end, off+len(b))
	if !more {
		if d.total >= 0 {
			bad() // two ends
			return
		}
		d.total = off + len(b)
	}
	if len(d.parts) >= maxFragments || d.total >= 0 && end > d.total {
		bad()
		return
	}
	if off == 0 && k.proto == protoUDP && len(b) > 8 {
		d.ours = sip.Looks(b[8:]) || a.opt.HEP != nil && looksHEP(b[8:])
	}
	d.parts = append(d.parts, part{off, append([]byte(nil), b...)})
	if d.total < 0 || have < d.total {
		return
	}
	// Parts that do not overlap, do not reach beyond the end and are as long as the
	// whole leave no gap.
	delete(f.m, k)
	whole := make([]byte, d.total)
	for _, p := range d.parts {
		copy(whole[p.off:], p.b)
	}
	a.transport(k.proto, k.src, k.dst, whole, d.cut, at)
}

// expireFragments gives up the datagrams that began too long ago.
func (a *Assembler) expireFragments(now time.Time) {
	f := &a.frags
	for len(f.order) > 0 && (!f.live(f.order[0]) || now.Sub(f.order[0].d.first) >= fragmentsFor) {
		a.giveUp()
	}
	if len(f.order) == 0 {
		f.order = nil
	}
}

// closeFragments gives up all that wait.
func (a *Assembler) closeFragments() {
	for len(a.frags.order) > 0 {
		a.giveUp()
	}
}
