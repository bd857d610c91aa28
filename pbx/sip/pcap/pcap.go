// Package pcap is in charge of capture files: pcap and pcapng, plain or gzip'd, of
// any common link type, become SIP messages.
package pcap

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"textback/pbx/sip"
	"textback/pbx/sip/wire"
)

// Magic tells whether a file that begins with these four bytes is a capture,
// perhaps a compressed one.
func Magic(b [4]byte) bool {
	switch b {
	case [4]byte{0xd4, 0xc3, 0xb2, 0xa1}, [4]byte{0xa1, 0xb2, 0xc3, 0xd4}, // microseconds
		[4]byte{0x4d, 0x3c, 0xb2, 0xa1}, [4]byte{0xa1, 0xb2, 0x3c, 0x4d}, // nanoseconds
		[4]byte{0x0a, 0x0d, 0x0d, 0x0a}: // pcapng
		return true
	}
	return b[0] == 0x1f && b[1] == 0x8b
}

// Read gives every SIP message of a capture to opt.Handle. Memory does not grow
// with the file. An error tells the file, by name, and after which packet it
// happened; what came before has been given.
func Read(r io.Reader, name string, opt wire.Options) (counts sip.Counts, err error) {
	a := wire.NewAssembler(opt)
	n := 0
	defer func() {
		a.Close()
		counts = a.Counts()
		if err != nil {
			err = fmt.Errorf("%s: after packet %d: %w", name, n, err)
		}
	}()
	src := &source{r: r}
	in := bufio.NewReaderSize(src, 1<<20)
	head, err := in.Peek(4)
	if err != nil {
		return counts, errors.New("is too short for a capture")
	}
	if head[0] == 0x1f && head[1] == 0x8b {
		z, err := gzip.NewReader(in)
		if err != nil {
			return counts, err
		}
		src = &source{r: z}
		in = bufio.NewReaderSize(src, 1<<20)
		if head, err = in.Peek(4); err != nil {
			return counts, errors.New("holds nothing")
		}
	}
	next, link, err := open(in, [4]byte(head))
	if err != nil {
		return counts, err
	}
	var last time.Time
	for {
		b, ci, err := next()
		if errors.Is(err, io.EOF) && src.err != nil {
			err = src.err
		}
		switch {
		case errors.Is(err, io.EOF):
			return counts, nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return counts, errors.New("the file ends in the middle of a packet")
		case err != nil:
			return counts, err
		}
		n++
		l := link(ci.InterfaceIndex)
		if !wire.Known(l) {
			return counts, fmt.Errorf("link type %d (%v) cannot be read: capture on the interface itself, as Ethernet or raw IP", int(l), l)
		}
		a.Frame(l, b, ci.Length, ci.Timestamp)
		if ci.Timestamp.Sub(last) > time.Second {
			last = ci.Timestamp
			a.Advance(last)
		}
	}
}

// source remembers why its reader ended: the library takes a compressed file that is
// cut between two packets for one that ends there.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// open begins to read either format.
func open(in *bufio.Reader, magic [4]byte) (next func() ([]byte, gopacket.CaptureInfo, error), link func(int) layers.LinkType, err error) {
	if magic == [4]byte{0x0a, 0x0d, 0x0d, 0x0a} {
		r, err := pcapgo.NewNgReader(in, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
		if err != nil {
			return nil, nil, fmt.Errorf("not a pcapng file: %w", err)
		}
		return r.ZeroCopyReadPacketData, func(i int) layers.LinkType {
			if f, err := r.Interface(i); err == nil {
				return f.LinkType
			}
			return r.LinkType()
		}, nil
	}
	r, err := pcapgo.NewReader(in)
	if err != nil {
		return nil, nil, fmt.Errorf("not a capture: %w", err)
	}
	if r.Snaplen() == 0 || r.Snaplen() > 1<<18 {
		r.SetSnaplen(1 << 18)
	}
	return r.ZeroCopyReadPacketData, func(int) layers.LinkType { return r.LinkType() }, nil
}
