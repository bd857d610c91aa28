package nic

import (
	"errors"
	"fmt"

	"golang.org/x/net/bpf"
)

// Ports is a range of port numbers, both ends included.
type Ports struct{ First, Last uint16 }

// maxRanges keeps the filter's jumps within the byte that they have.
const maxRanges = 24

// outgoing is the packet type of what this host sends, as the kernel counts.
const outgoing = 4

// snap is how much of a frame is kept: all of it.
const snap = 1 << 18

// Filter is the program that the kernel runs on each frame of an interface, so
// that RTP and all else never leaves it: UDP and TCP from or to the ports, over IPv4
// and IPv6, all fragments but first ones (only those show ports), and tagged frames
// that the kernel did not strip. Of a loopback interface it takes each frame
// once, as it arrives. raw interfaces (tunnels) have no link header.
func Filter(ports []Ports, raw, loopback bool) ([]bpf.Instruction, error) {
	if len(ports) == 0 || len(ports) > maxRanges {
		return nil, fmt.Errorf("capture: %d ranges of ports: use 1 to %d", len(ports), maxRanges)
	}
	var p program
	if loopback {
		p.add(bpf.LoadExtension{Num: bpf.ExtType})
		p.jump(bpf.JumpEqual, outgoing, "drop")
	}
	base := uint32(14)
	if raw {
		base = 0
		p.add(bpf.LoadAbsolute{Off: 0, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
		p.jump(bpf.JumpEqual, 4, "v4")
		p.jump(bpf.JumpEqual, 6, "v6")
	} else {
		p.add(bpf.LoadAbsolute{Off: 12, Size: 2})
		p.jump(bpf.JumpEqual, 0x0800, "v4")
		p.jump(bpf.JumpEqual, 0x86dd, "v6")
		for _, tagged := range []uint32{0x8100, 0x88a8, 0x9100, 0x8864} {
			p.jump(bpf.JumpEqual, tagged, "keep")
		}
	}
	p.to("drop")

	p.label("v4")
	p.add(bpf.LoadAbsolute{Off: base + 9, Size: 1})
	p.jump(bpf.JumpEqual, 17, "v4ports")
	p.jump(bpf.JumpEqual, 6, "v4ports")
	p.to("drop")
	p.label("v4ports")
	p.add(bpf.LoadAbsolute{Off: base + 6, Size: 2})
	p.jump(bpf.JumpBitsSet, 0x1fff, "keep")
	p.add(bpf.LoadMemShift{Off: base}, bpf.LoadIndirect{Off: base, Size: 2})
	p.ports(ports)
	p.add(bpf.LoadIndirect{Off: base + 2, Size: 2})
	p.ports(ports)
	p.to("drop")

	p.label("v6")
	p.add(bpf.LoadAbsolute{Off: base + 6, Size: 1})
	for _, header := range []uint32{44, 0, 43, 60} { // fragments, and headers that hide the ports
		p.jump(bpf.JumpEqual, header, "keep")
	}
	p.jump(bpf.JumpEqual, 17, "v6ports")
	p.jump(bpf.JumpEqual, 6, "v6ports")
	p.to("drop")
	p.label("v6ports")
	p.add(bpf.LoadAbsolute{Off: base + 40, Size: 2})
	p.ports(ports)
	p.add(bpf.LoadAbsolute{Off: base + 42, Size: 2})
	p.ports(ports)

	p.label("drop")
	p.add(bpf.RetConstant{Val: 0})
	p.label("keep")
	p.add(bpf.RetConstant{Val: snap})
	return p.link()
}

// program is a filter whose jumps name their targets.
type program struct {
	ins    []bpf.Instruction
	wants  map[int]string
	labels map[string]int
}

func (p *program) add(ins ...bpf.Instruction) { p.ins = append(p.ins, ins...) }

func (p *program) want(label string) {
	if p.wants == nil {
		p.wants = map[int]string{}
	}
	p.wants[len(p.ins)] = label
}

// jump goes to label if the test holds.
func (p *program) jump(test bpf.JumpTest, val uint32, label string) {
	p.want(label)
	p.add(bpf.JumpIf{Cond: test, Val: val})
}

func (p *program) to(label string) {
	p.want(label)
	p.add(bpf.Jump{})
}

func (p *program) label(name string) {
	if p.labels == nil {
		p.labels = map[string]int{}
	}
	p.labels[name] = len(p.ins)
}

// ports keeps the frame if the port just loaded is in a range.
func (p *program) ports(ports []Ports) {
	for _, r := range ports {
		if r.First == r.Last {
			p.jump(bpf.JumpEqual, uint32(r.First), "keep")
			continue
		}
		p.add(bpf.JumpIf{Cond: bpf.JumpLessThan, Val: uint32(r.First), SkipTrue: 1})
		p.jump(bpf.JumpLessOrEqual, uint32(r.Last), "keep")
	}
}

func (p *program) link() ([]bpf.Instruction, error) {
	for at, label := range p.wants {
		skip := p.labels[label] - at - 1
		switch j := p.ins[at].(type) {
		case bpf.JumpIf:
			if skip > 255 {
				return nil, errors.New("capture: too many ports")
			}
			j.SkipTrue = uint8(skip)
			p.ins[at] = j
		case bpf.Jump:
			j.Skip = uint32(skip)
			p.ins[at] = j
		}
	}
	return p.ins, nil
}
