// Package nic is in charge of SIP read off a network interface, passively: an
// AF_PACKET socket with a ring shared with the kernel and a filter in it. There is
// no libpcap and no cgo, and CAP_NET_RAW is the only right that it takes.
package nic

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"sync"
	"time"

	"github.com/gopacket/gopacket/afpacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"textback/pbx/sip"
	"textback/pbx/sip/wire"
)

// Options say what is read.
type Options struct {
	Interface   string
	Ports       []Ports
	Promiscuous bool // for a mirror port: frames for other hosts too
	Handle      func(*sip.Packet)
	Log         *slog.Logger
}

const (
	blockSize = 1 << 20
	blocks    = 16
	// blockTime is how long the kernel keeps a frame back to fill a block.
	blockTime = 2 * time.Millisecond
	pollTime  = 100 * time.Millisecond
	reopen    = 2 * time.Second
)

// A Capture reads one interface.
type Capture struct {
	opt  Options
	link layers.LinkType
	prog []bpf.RawInstruction

	mu     sync.Mutex
	counts sip.Counts
	ring   *afpacket.TPacket
}

// Open opens the interface, so that what is wrong with it is known at start.
func Open(opt Options) (*Capture, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	c := &Capture{opt: opt}
	c.counts.Dropped = map[string]uint64{}
	ring, err := c.open()
	if err != nil {
		return nil, err
	}
	c.ring = ring
	return c, nil
}

// Kinds of interfaces, as the kernel numbers them (ARPHRD_*).
const (
	kindEther    = 1
	kindPPP      = 512
	kindLoopback = 772
	kindRawIP    = 519
	kindNone     = 65534
)

// kindOf asks the kernel, since /sys may show another network namespace.
func kindOf(name string) (uint16, error) {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return 0, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFHWADDR, req); err != nil {
		return 0, err
	}
	return req.Uint16(), nil // the family of its address
}

func (c *Capture) open() (*afpacket.TPacket, error) {
	name := c.opt.Interface
	what := "capture on " + name
	dev, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("%s: there is no such interface; \"ip link\" lists them", what)
	}
	if dev.Flags&net.FlagUp == 0 {
		return nil, fmt.Errorf("%s: the interface is down", what)
	}
	kind, err := kindOf(name)
	if err != nil {
		return nil, fmt.Errorf("%s: its kind: %w", what, err)
	}
	loopback := dev.Flags&net.FlagLoopback != 0
	c.link = layers.LinkTypeEthernet
	switch {
	case loopback || kind == kindEther || kind == kindLoopback:
	case kind == kindNone || kind == kindRawIP || kind == kindPPP:
		c.link = layers.LinkTypeRaw
	default:
		return nil, fmt.Errorf("%s: interfaces of kind %d cannot be read, only Ethernet and tunnels that carry IP", what, kind)
	}
	prog, err := Filter(c.opt.Ports, c.link == layers.LinkTypeRaw, loopback)
	if err != nil {
		return nil, err
	}
	if c.prog, err = bpf.Assemble(prog); err != nil {
		return nil, fmt.Errorf("%s: filter: %w", what, err)
	}
	ring, err := afpacket.NewTPacket(afpacket.OptInterface(name), afpacket.OptFrameSize(4096), afpacket.OptBlockSize(blockSize), afpacket.OptNumBlocks(blocks),
		afpacket.OptBlockTimeout(blockTime), afpacket.OptPollTimeout(pollTime), afpacket.TPacketVersion3, afpacket.SocketRaw)
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			err = fmt.Errorf("%w: it takes CAP_NET_RAW (textback.service says how)", err)
		}
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if err := ring.SetBPF(c.prog); err != nil {
		ring.Close()
		return nil, fmt.Errorf("%s: filter: %w", what, err)
	}
	if c.opt.Promiscuous {
		if err := ring.SetPromiscuous(true); err != nil {
			ring.Close()
			return nil, fmt.Errorf("%s: promiscuous mode: %w", what, err)
		}
	}
	return ring, nil
}

// Counts tells what has been read so far; what the kernel had no room for is
// dropped by "kernel".
func (c *Capture) Counts() sip.Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.counts
	n.Dropped = maps.Clone(n.Dropped)
	return n
}

// Run reads until ctx ends. An interface that goes away is opened again when it
// comes back.
func (c *Capture) Run(ctx context.Context) error {
	asm := wire.NewAssembler(wire.Options{Handle: c.opt.Handle})
	defer asm.Close()
	for ctx.Err() == nil {
		err := c.read(ctx, asm)
		c.ring.Close()
		if ctx.Err() != nil {
			break
		}
		c.opt.Log.Error("the capture broke off; opening the interface again until it works", "interface", c.opt.Interface, "error", err)
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(reopen):
			}
			if ring, err := c.open(); err == nil {
				c.ring = ring
				c.opt.Log.Info("capturing again", "interface", c.opt.Interface)
				break
			}
		}
	}
	return nil
}

func (c *Capture) read(ctx context.Context, asm *wire.Assembler) error {
	before := c.Counts().Dropped["kernel"] // by earlier sockets
	dropped := before
	counted := time.Now()
	for {
		b, ci, err := c.ring.ZeroCopyReadPacketData()
		idle := errors.Is(err, afpacket.ErrTimeout)
		switch {
		case err == nil:
			asm.Frame(c.link, b, ci.Length, ci.Timestamp)
		case !idle:
			return err
		}
		if !idle && time.Since(counted) < pollTime {
			continue
		}
		counted = time.Now()
		asm.Advance(counted)
		if ctx.Err() != nil {
			return nil
		}
		more := false
		if _, v3, err := c.ring.SocketStats(); err == nil {
			n := before + uint64(v3.Drops()) // since the socket was opened
			more, dropped = n > dropped, n
		}
		c.mu.Lock()
		c.counts = asm.Counts()
		c.counts.Dropped = maps.Clone(c.counts.Dropped)
		if dropped > 0 {
			c.counts.Dropped["kernel"] = dropped
		}
		c.mu.Unlock()
		if more {
			c.opt.Log.Warn("the kernel had no room for packets: calls among them will not be certain", "interface", c.opt.Interface, "dropped", dropped)
		}
	}
}
