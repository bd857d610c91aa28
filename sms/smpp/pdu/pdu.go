// Package pdu is in charge of the octets of SMPP 3.4: the frame that every PDU
// comes in, and the bodies of those that a transceiver and its SMSC exchange. Numbers
// in comments are sections of the specification, issue 1.2. It does no I/O but
// to read a frame from an io.Reader.
//
// It is strict in what it writes and tolerant in what it reads: bodies that are missing,
// optional parameters that are cut short, and strings longer than they may be are
// common; what is never tolerated is a length that does not fit.
package pdu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A Command says what a PDU is (5.1.2.1).
type Command uint32

const (
	BindReceiver    Command = 0x00000001
	BindTransmitter Command = 0x00000002
	QuerySM         Command = 0x00000003
	SubmitSM        Command = 0x00000004
	DeliverSM       Command = 0x00000005
	Unbind          Command = 0x00000006
	BindTransceiver Command = 0x00000009
	Outbind         Command = 0x0000000b
	EnquireLink     Command = 0x00000015
	AlertNotify     Command = 0x00000102 // has no response
	DataSM          Command = 0x00000103

	Response    Command = 0x80000000 // set in the response to a command
	GenericNack Command = 0x80000000
)

// IsResponse reports whether c answers a command.
func (c Command) IsResponse() bool { return c&Response != 0 }

// A Status says what became of a command (5.1.3).
type Status uint32

// String is the form in which a status is kept and shown: 0x00000058.
func (s Status) String() string { return fmt.Sprintf("0x%08X", uint32(s)) }

// What we answer ourselves, and what a session turns on. Package smpp has words for all.
const (
	OK              Status = 0x00000000
	InvalidLength   Status = 0x00000002
	InvalidCommand  Status = 0x00000003
	WrongBindState  Status = 0x00000004
	AlreadyBound    Status = 0x00000005
	SystemError     Status = 0x00000008
	BadDestination  Status = 0x0000000b
	BindFailed      Status = 0x0000000d
	InvalidPassword Status = 0x0000000e
	QueueFull       Status = 0x00000014
	Throttled       Status = 0x00000058
	TemporaryError  Status = 0x00000064 // the receiver cannot take it now: offer it again
	PermanentError  Status = 0x00000065 // the receiver never will
)

// Sizes in octets. A message_payload may have 65,535, and stands beside other fields.
const (
	headerSize = 16
	MaxSize    = 68 << 10
)

// A PDU is one frame.
type PDU struct {
	Command Command
	Status  Status
	Seq     uint32
	Body    []byte
}

// ErrFrame is wrapped by Read's errors when the length in the frame cannot be:
// then nothing behind it can be found either, and the connection is of no use.
var ErrFrame = errors.New("smpp: the frame is broken")

// Read reads one PDU. It never reads, nor holds, more than MaxSize octets of one.
func Read(r io.Reader) (PDU, error) {
	var h [headerSize]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return PDU{}, err
	}
	size := binary.BigEndian.Uint32(h[:])
	if size < headerSize || size > MaxSize {
		return PDU{}, fmt.Errorf("%w: a PDU of %d octets", ErrFrame, size)
	}
	p := PDU{Command: Command(binary.BigEndian.Uint32(h[4:])), Status: Status(binary.BigEndian.Uint32(h[8:])), Seq: binary.BigEndian.Uint32(h[12:])}
	if size > headerSize {
		p.Body = make([]byte, size-headerSize)
		if _, err := io.ReadFull(r, p.Body); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return PDU{}, err
		}
	}
	return p, nil
}

// Append appends p to dst as it goes over the wire.
func (p PDU) Append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(headerSize+len(p.Body)))
	dst = binary.BigEndian.AppendUint32(dst, uint32(p.Command))
	dst = binary.BigEndian.AppendUint32(dst, uint32(p.Status))
	dst = binary.BigEndian.AppendUint32(dst, p.Seq)
	return append(dst, p.Body...)
}

// Answer returns the response to p.
func (p PDU) Answer(s Status, body []byte) PDU {
	return PDU{Command: p.Command | Response, Status: s, Seq: p.Seq, Body: body}
}

// A Tag names an optional parameter (5.3.2).
type Tag uint16

const (
	ReceiptedMessageID   Tag = 0x001e
	UserMessageReference Tag = 0x0204
	SARReference         Tag = 0x020c
	SARTotal             Tag = 0x020e
	SARSequence          Tag = 0x020f
	NetworkErrorCode     Tag = 0x0423
	MessagePayload       Tag = 0x0424
	MessageState         Tag = 0x0427
)

// TLVs are optional parameters in the order in which they came.
type TLVs []TLV

// A TLV is one optional parameter.
type TLV struct {
	Tag   Tag
	Value []byte
}

// Get returns the first value of t.
func (s TLVs) Get(t Tag) (value []byte, found bool) {
	for _, v := range s {
		if v.Tag == t {
			return v.Value, true
		}
	}
	return nil, false
}

// Number returns the first value of t as a number, of as many octets as it has.
func (s TLVs) Number(t Tag) (n uint32, found bool) {
	v, found := s.Get(t)
	if !found || len(v) == 0 || len(v) > 4 {
		return 0, false
	}
	for _, c := range v {
		n = n<<8 | uint32(c)
	}
	return n, true
}

// Text returns the first value of t as a string, which may or may not end with a zero.
func (s TLVs) Text(t Tag) string {
	v, _ := s.Get(t)
	text, _, _ := strings.Cut(string(v), "\x00")
	return text
}

func (s TLVs) append(dst []byte) []byte {
	for _, v := range s {
		dst = binary.BigEndian.AppendUint16(dst, uint16(v.Tag))
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(v.Value)))
		dst = append(dst, v.Value...)
	}
	return dst
}

// An Address is a number or a name and what kind it is (5.2.5, 5.2.6).
type Address struct {
	TON, NPI byte
	Digits   string // without a plus sign
}

// Types of number and numbering plans.
const (
	Unknown         = 0
	International   = 1
	National        = 2
	NetworkSpecific = 3
	Alphanumeric    = 5

	E164 = 1
)

// A Bind asks for a session (4.1).
type Bind struct {
	SystemID, Password, SystemType string
	Version                        byte // of the protocol: 0x34
	Address                        Address
}

// Append appends b's body to dst.
func (b Bind) Append(dst []byte) []byte {
	dst = text(text(text(dst, b.SystemID), b.Password), b.SystemType)
	dst = append(dst, b.Version, b.Address.TON, b.Address.NPI)
	return text(dst, b.Address.Digits)
}

// ParseBind reads the body of a bind.
func ParseBind(body []byte) (Bind, error) {
	r := reader{b: body}
	b := Bind{SystemID: r.text(), Password: r.text(), SystemType: r.text(), Version: r.octet()}
	b.Address = Address{r.octet(), r.octet(), r.text()}
	return b, r.err
}

// A Message is the body of submit_sm, deliver_sm (4.4, 4.6) and data_sm (4.7),
// which lacks the fields from Protocol on.
type Message struct {
	ServiceType         string
	Source, Destination Address
	ESMClass            byte
	Registered          byte
	Coding              byte

	Protocol, Priority byte
	Schedule, Validity string
	Replace, DefaultID byte
	Short              []byte // at most 254 octets; empty beside a MessagePayload

	TLVs TLVs
}

// Bits of Message.ESMClass (5.2.12) and of Message.Registered (5.2.17).
const (
	TypeMask            = 0x3c
	TypeReceipt         = 0x04 // the SMSC's delivery receipt
	TypeAcknowledgement = 0x08 // the phone's
	TypeIntermediate    = 0x20 // the SMSC's word in between
	HasHeader           = 0x40 // a user data header stands before the text

	WantReceipt = 0x01 // of success or failure
)

// Append appends the body of a submit_sm or deliver_sm to dst.
func (m Message) Append(dst []byte) []byte {
	dst = m.Destination.append(m.Source.append(text(dst, m.ServiceType)))
	dst = append(dst, m.ESMClass, m.Protocol, m.Priority)
	dst = text(text(dst, m.Schedule), m.Validity)
	dst = append(dst, m.Registered, m.Replace, m.Coding, m.DefaultID, byte(len(m.Short)))
	return m.TLVs.append(append(dst, m.Short...))
}

// AppendData appends the body of a data_sm to dst.
func (m Message) AppendData(dst []byte) []byte {
	dst = m.Destination.append(m.Source.append(text(dst, m.ServiceType)))
	return m.TLVs.append(append(dst, m.ESMClass, m.Registered, m.Coding))
}

// ParseMessage reads the body of a submit_sm, deliver_sm or data_sm.
func ParseMessage(c Command, body []byte) (Message, error) {
	r := reader{b: body}
	m := Message{ServiceType: r.text(), Source: r.address(), Destination: r.address(), ESMClass: r.octet()}
	if c == DataSM {
		m.Registered, m.Coding = r.octet(), r.octet()
	} else {
		m.Protocol, m.Priority, m.Schedule, m.Validity = r.octet(), r.octet(), r.text(), r.text()
		m.Registered, m.Replace, m.Coding, m.DefaultID = r.octet(), r.octet(), r.octet(), r.octet()
		m.Short = r.octets(int(r.octet()))
	}
	m.TLVs = r.tlvs()
	return m, r.err
}

// Text is the text's octets, wherever they stand (5.3.2.32).
func (m Message) Text() []byte {
	if len(m.Short) == 0 {
		if v, found := m.TLVs.Get(MessagePayload); found {
			return v
		}
	}
	return m.Short
}

// AppendID appends the body of a response that names a message, or a system, to dst.
func AppendID(dst []byte, id string, tlvs TLVs) []byte { return tlvs.append(text(dst, id)) }

// ParseID reads the body of a response. Responses that refuse may have none, and
// some SMSCs leave out the zero: what is there is taken.
func ParseID(body []byte) (id string, tlvs TLVs) {
	id, rest, ended := strings.Cut(string(body), "\x00")
	if !ended {
		return id, nil
	}
	r := reader{b: []byte(rest)}
	return id, r.tlvs()
}

func (a Address) append(dst []byte) []byte { return text(append(dst, a.TON, a.NPI), a.Digits) }

// text appends s and the zero that ends it. A zero inside would end it early, and
// move everything behind it.
func text(dst []byte, s string) []byte {
	return append(append(dst, strings.ReplaceAll(s, "\x00", "")...), 0)
}

var errShort = errors.New("smpp: the PDU ends too early")

// reader takes a body apart. After the first error everything is empty.
type reader struct {
	b   []byte
	err error
}

func (r *reader) octets(n int) []byte {
	if r.err != nil || n > len(r.b) {
		r.err = errShort
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) octet() byte {
	if v := r.octets(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) text() string {
	for i, c := range r.b {
		if c == 0 {
			s := string(r.b[:i])
			r.b = r.b[i+1:]
			return s
		}
	}
	r.b, r.err = nil, errShort
	return ""
}

func (r *reader) address() Address { return Address{r.octet(), r.octet(), r.text()} }

// tlvs reads optional parameters to the end, or to the first that does not fit.
func (r *reader) tlvs() (out TLVs) {
	for r.err == nil && len(r.b) >= 4 {
		tag, n := Tag(binary.BigEndian.Uint16(r.b)), int(binary.BigEndian.Uint16(r.b[2:]))
		if n > len(r.b)-4 {
			break
		}
		r.b = r.b[4:]
		out = append(out, TLV{tag, r.octets(n)})
	}
	return out
}
