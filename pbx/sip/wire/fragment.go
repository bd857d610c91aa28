package wire

import (
	"net/netip"
	"time"
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
}

type part struct {
	off int
	b   []byte
}

// fragments are the datagrams that are not whole yet.
type fragments struct {
	m     map[fragKey]*datagram
	order []fragKey // oldest first; may hold keys that are gone
}

func (a *Assembler) fragment(k fragKey, off int, more bool, b []byte, cut bool, at time.Time) {
	f := &a.frags
	if off+len(b) > maxDatagram {
		a.drop("bad fragment")
		return
	}
	d := f.m[k]
	if d == nil {
		if f.m == nil {
			f.m = map[fragKey]*datagram{}
		}
		for len(f.m) >= maxDatagrams {
			delete(f.m, f.order[0])
			f.order = f.order[1:]
			a.drop("fragment lost")
		}
		d = &datagram{total: -1, first: at}
		f.m[k] = d
		f.order = append(f.order, k)
	}
	d.cut = d.cut || cut
	for _, p := range d.parts {
		if p.off == off && len(p.b) == len(b) {
			return // the same again
		}
		if off < p.off+len(p.b) && p.off < off+len(b) {
			// Overlaps are an attack or an error (RFC 5722); the datagram is dropped.
			delete(f.m, k)
			a.drop("bad fragment")
			return
		}
	}
	if len(d.parts) >= maxFragments {
		delete(f.m, k)
		a.drop("bad fragment")
		return
	}
	d.parts = append(d.parts, part{off, append([]byte(nil), b...)})
	if !more {
		d.total = off + len(b)
	}
	have := 0
	for _, p := range d.parts {
		have += len(p.b)
	}
	if d.total < 0 || have < d.total {
		return
	}
	delete(f.m, k)
	if have > d.total {
		a.drop("bad fragment")
		return
	}
	whole := make([]byte, d.total)
	for _, p := range d.parts {
		copy(whole[p.off:], p.b)
	}
	a.transport(k.proto, k.src, k.dst, whole, d.cut, at)
}

func (f *fragments) expire(now time.Time) {
	for len(f.order) > 0 {
		d := f.m[f.order[0]]
		if d != nil && now.Sub(d.first) < fragmentsFor {
			return
		}
		delete(f.m, f.order[0])
		f.order = f.order[1:]
	}
	f.order = nil
}
