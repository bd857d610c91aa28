package pdu

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

// A submit_sm written out octet by octet, by the tables of 4.4.1.
const submit = "00000039" + "00000004" + "00000000" + "00000005" + // length, command, status, sequence
	"00" + "0101" + "313231323535353031303000" + "0101" + "313230323535353031343300" + // service type, source, destination
	"000000" + "0000" + "01000000" + "02" + "6869" // classes, times, registered and coding, text

func message() Message {
	return Message{Source: Address{International, E164, "12125550100"}, Destination: Address{International, E164, "12025550143"},
		Registered: WantReceipt, Short: []byte("hi")}
}

func TestOctets(t *testing.T) {
	p := PDU{Command: SubmitSM, Seq: 5, Body: message().Append(nil)}
	if got := hex.EncodeToString(p.Append(nil)); got != submit {
		t.Errorf("got\n%s want\n%s", got, submit)
	}
	wire, _ := hex.DecodeString(submit)
	back, err := Read(bytes.NewReader(wire))
	if err != nil || !reflect.DeepEqual(back, p) {
		t.Fatalf("%+v %v, want %+v", back, err, p)
	}
	if m, err := ParseMessage(SubmitSM, back.Body); err != nil || !reflect.DeepEqual(m, message()) {
		t.Errorf("%+v %v", m, err)
	}
	// A bind_transceiver of 4.1.5.
	b := Bind{SystemID: "SMPP3TEST", Password: "secret08", SystemType: "SUBMIT1", Version: 0x34, Address: Address{1, 1, ""}}
	if got := hex.EncodeToString(b.Append(nil)); got != "534d50503354455354007365637265743038005355424d49543100340101"+"00" {
		t.Error(got)
	}
	if back, err := ParseBind(b.Append(nil)); err != nil || back != b {
		t.Errorf("%+v %v", back, err)
	}
}

func TestEveryCut(t *testing.T) {
	m := message()
	m.Validity, m.ServiceType = "000000001500000R", "CMT"
	whole := PDU{Command: DeliverSM, Seq: 1, Body: m.Append(nil)}.Append(nil)
	for n := range whole {
		_, err := Read(bytes.NewReader(whole[:n]))
		if want := io.ErrUnexpectedEOF; n > 0 && !errors.Is(err, want) || n == 0 && !errors.Is(err, io.EOF) {
			t.Errorf("%d octets: %v", n, err)
		}
		if n < headerSize {
			continue
		}
		if _, err := ParseMessage(DeliverSM, whole[headerSize:n]); err == nil {
			t.Errorf("a body of %d octets is read", n-headerSize)
		}
	}
}

func TestFrames(t *testing.T) {
	for what, in := range map[string]string{
		"too short":         "0000000f" + strings.Repeat("00", 12),
		"nothing":           strings.Repeat("00", 16),
		"too long":          "00011001" + strings.Repeat("00", 12),
		"as long as it can": "ffffffff" + strings.Repeat("00", 12),
		"HTTP":              hex.EncodeToString([]byte("HTTP/1.1 400 Bad")),
	} {
		b, _ := hex.DecodeString(in)
		if _, err := Read(bytes.NewReader(b)); !errors.Is(err, ErrFrame) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestOptional(t *testing.T) {
	m := message()
	m.Short = nil
	m.TLVs = TLVs{{MessagePayload, []byte("long")}, {SARReference, []byte{1, 2}}, {MessageState, []byte{2}}, {ReceiptedMessageID, []byte("abc\x00")}, {MessageState, []byte{5}}}
	for c, body := range map[Command][]byte{DeliverSM: m.Append(nil), DataSM: m.AppendData(nil)} {
		for _, tail := range []string{"", "\x00", "\x04\x27\x00", "\x04\x27\x00\x02\x01"} { // what does not fit is left out
			got, err := ParseMessage(c, append(bytes.Clone(body), tail...))
			if err != nil || !reflect.DeepEqual(got.TLVs, m.TLVs) || string(got.Text()) != "long" {
				t.Errorf("%#x %q: %+v %v", c, tail, got, err)
			}
			state, ok := got.TLVs.Number(MessageState)
			ref, _ := got.TLVs.Number(SARReference)
			if _, none := got.TLVs.Number(UserMessageReference); state != 2 || !ok || ref != 0x102 || none || got.TLVs.Text(ReceiptedMessageID) != "abc" {
				t.Errorf("%+v", got.TLVs)
			}
		}
	}
	for in, want := range map[string]string{"": "", "abc": "abc", "abc\x00": "abc", "abc\x00\x00\x1e\x00\x01x": "abc"} {
		if id, _ := ParseID([]byte(in)); id != want {
			t.Errorf("%q: %q", in, id)
		}
	}
	if id, tlvs := ParseID(AppendID(nil, "abc", TLVs{{MessageState, []byte{1}}})); id != "abc" || len(tlvs) != 1 {
		t.Errorf("%q %v", id, tlvs)
	}
	// A zero in a string cannot move what stands behind it.
	m = message()
	m.ServiceType = "a\x00b"
	if got, err := ParseMessage(SubmitSM, m.Append(nil)); err != nil || got.ServiceType != "ab" || string(got.Short) != "hi" {
		t.Errorf("%+v %v", got, err)
	}
}

// Whatever comes is refused, or read and written again to the same meaning; nothing is
// held beyond the bound.
func FuzzPDU(f *testing.F) {
	b, _ := hex.DecodeString(submit)
	f.Add(b)
	m := message()
	m.TLVs = TLVs{{MessagePayload, []byte("x")}, {MessageState, []byte{2}}}
	f.Add(PDU{Command: DataSM, Seq: 9, Body: m.AppendData(nil)}.Append(nil))
	f.Add(PDU{Command: BindTransceiver, Body: Bind{SystemID: "a", Password: "b", Version: 0x34}.Append(nil)}.Append(nil))
	f.Add(PDU{Command: SubmitSM | Response, Status: Throttled}.Append(nil))
	f.Add([]byte("HTTP/1.1 400 Bad Request"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		if len(p.Body)+headerSize > MaxSize || len(p.Body)+headerSize > len(b) {
			t.Fatalf("%d octets of %d", len(p.Body), len(b))
		}
		if wire := p.Append(nil); !bytes.Equal(wire, b[:len(wire)]) {
			t.Errorf("%x becomes %x", b, wire)
		}
		if m, err := ParseMessage(p.Command, p.Body); err == nil {
			again := m.Append(nil)
			if p.Command == DataSM {
				again = m.AppendData(nil)
			}
			if !bytes.HasPrefix(p.Body, again) {
				t.Errorf("%x becomes %x", p.Body, again)
			}
		}
		if bind, err := ParseBind(p.Body); err == nil && !bytes.HasPrefix(p.Body, bind.Append(nil)) {
			t.Errorf("%x becomes %x", p.Body, bind.Append(nil))
		}
		if id, tlvs := ParseID(p.Body); !bytes.HasPrefix(append(bytes.Clone(p.Body), 0), AppendID(nil, id, tlvs)) {
			t.Errorf("%x becomes %x", p.Body, AppendID(nil, id, tlvs))
		}
	})
}
