package smpp

import (
	"context"

	"textback/rules/gsm7"
	"textback/sms"
	"textback/sms/smpp/pdu"
)

// arrived deals with a deliver_sm or data_sm and returns what the SMSC is answered.
func (t *Transport) arrived(ctx context.Context, p pdu.PDU, in sms.Inbox) pdu.Status {
	m, err := pdu.ParseMessage(p.Command, p.Body)
	if err != nil {
		// Offered again it would be no better.
		t.opt.Log.Error("the SMSC sent something that cannot be read; it is refused", "error", err)
		return pdu.PermanentError
	}
	if r, ok, is := t.receiptIn(m); is {
		if !ok {
			t.opt.Log.Warn("a delivery receipt without an id and a state; it is passed over")
			return pdu.OK
		}
		d, tell := t.book.receipt(r)
		if !tell {
			return pdu.OK
		}
		return t.stored("a delivery receipt", in.Receipt(ctx, d))
	}
	part, octets, err := partOf(m)
	if err != nil {
		t.opt.Log.Warn("a text with a broken user data header; all of it is taken for words", "error", err)
	}
	s := piece{From: incoming(m.Source, t.opt.Region), To: incoming(m.Destination, t.opt.Region), Octets: octets, Coding: m.Coding}
	if t.opt.Latin1 && s.Coding == gsm7.CodingDefault {
		s.Coding = gsm7.CodingLatin1
	}
	if part == nil || part.Total == 1 {
		return t.stored("a reply", in.Received(ctx, s.inbound(m.TLVs.Text(pdu.ReceiptedMessageID))))
	}
	s.Part = *part
	return t.stored("a part of a reply", t.parts.take(s, func(whole sms.Inbound) error { return in.Received(ctx, whole) }))
}

// stored is the answer for what the Inbox took, or did not.
func (t *Transport) stored(what string, err error) pdu.Status {
	if err == nil {
		return pdu.OK
	}
	t.opt.Log.Error(what+" was not stored; the SMSC is told to offer it again", "error", err)
	return pdu.TemporaryError
}

// receiptIn reports whether m is a receipt, by its class or by its parameters.
// Words alone do not make one: a caller can text them.
func (t *Transport) receiptIn(m pdu.Message) (r receipt, ok, is bool) {
	switch m.ESMClass & pdu.TypeMask {
	case pdu.TypeReceipt, pdu.TypeIntermediate, pdu.TypeAcknowledgement, pdu.TypeReceipt | pdu.TypeIntermediate:
	default:
		_, id := m.TLVs.Get(pdu.ReceiptedMessageID)
		if _, state := m.TLVs.Get(pdu.MessageState); !id || !state {
			return receipt{}, false, false
		}
	}
	text := m.Text()
	if m.ESMClass&pdu.HasHeader != 0 {
		if _, rest, err := gsm7.ParseHeader(text); err == nil {
			text = rest
		}
	}
	r, ok = readReceipt(m, text)
	return r, ok, true
}

// partOf tells which part of a text m is, nil for a whole one, and its octets without a
// header.
func partOf(m pdu.Message) (part *gsm7.Part, octets []byte, err error) {
	octets = m.Text()
	if m.ESMClass&pdu.HasHeader != 0 {
		p, rest, err := gsm7.ParseHeader(octets)
		if err != nil || p != nil {
			if err != nil {
				rest = octets
			}
			return p, rest, err
		}
		octets = rest
	}
	ref, a := m.TLVs.Number(pdu.SARReference)
	total, b := m.TLVs.Number(pdu.SARTotal)
	seq, c := m.TLVs.Number(pdu.SARSequence)
	if a && b && c && total > 0 && total <= 255 && seq > 0 && seq <= total {
		part = &gsm7.Part{Ref: uint16(ref), Total: byte(total), Seq: byte(seq), Wide: true}
	}
	return part, octets, nil
}

// inbound is a whole text.
func (s piece) inbound(id string) sms.Inbound {
	m := sms.Inbound{ID: id, From: s.From, To: s.To}
	text, binary := gsm7.Text(s.Coding, s.Octets)
	if m.Body = text; binary {
		m.Media = 1
	}
	return m
}

// giveUpWaiting gives replies of which parts never came, as far as they did.
func (t *Transport) giveUpWaiting(ctx context.Context, in sms.Inbox) {
	t.parts.overdue(t.opt.PartsPatience, func(m sms.Inbound) error {
		t.opt.Log.Warn("parts of a long reply never came; it is given without them")
		err := in.Received(ctx, m)
		if err != nil {
			t.opt.Log.Error("an incomplete reply was not stored; it is kept", "error", err)
		}
		return err
	})
}
