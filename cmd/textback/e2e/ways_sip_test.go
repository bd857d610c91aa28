package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"

	"textback/sms"
)

// sipTrunk is a carrier's trunk over UDP. It knows textback by its password, and
// sends texts to where textback has registered.
type sipTrunk struct {
	ua   *sipgo.UserAgent
	addr *net.UDPAddr

	mu      sync.Mutex
	contact *sip.Uri
	taken   []sms.Message // ID: of the request; Body: as it came, in CPIM
}

const sipPassword = "trunk-password"

func sipWay(t *testing.T) (*office, wayPeer) {
	quiet := slog.New(slog.DiscardHandler)
	ua, err := sipgo.NewUA(sipgo.WithUserAgentTransportLayerOptions(sip.WithTransportLayerLogger(quiet)),
		sipgo.WithUserAgentTransactionLayerOptions(sip.WithTransactionLayerLogger(quiet), sip.WithTransactionLayerUnhandledResponseHandler(func(*sip.Response) {})))
	if err != nil {
		t.Fatal(err)
	}
	srv, err := sipgo.NewServer(ua, sipgo.WithServerLogger(quiet))
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &sipTrunk{ua: ua, addr: c.LocalAddr().(*net.UDPAddr)}
	t.Cleanup(func() { _ = c.Close(); _ = ua.Close() })
	srv.OnOptions(func(req *sip.Request, tx sip.ServerTransaction) {
		_ = tx.Respond(sip.NewResponseFromRequest(req, 200, "OK", nil))
	})
	srv.OnRegister(p.known(func(req *sip.Request, tx sip.ServerTransaction) {
		p.mu.Lock()
		p.contact = req.Contact().Address.Clone()
		p.mu.Unlock()
		res := sip.NewResponseFromRequest(req, 200, "OK", nil)
		res.AppendHeader(sip.NewHeader("Contact", "<"+req.Contact().Address.String()+">;expires=600"))
		_ = tx.Respond(res)
	}))
	srv.OnMessage(p.known(func(req *sip.Request, tx sip.ServerTransaction) {
		p.mu.Lock()
		p.taken = append(p.taken, sms.Message{ID: strings.TrimSuffix(string(*req.CallID()), "@textback"), To: req.Recipient.User, Body: string(req.Body())})
		p.mu.Unlock()
		_ = tx.Respond(sip.NewResponseFromRequest(req, 202, "Accepted", nil))
	}))
	go func() { _ = srv.ServeUDP(c) }()
	return newOffice(t, fmt.Sprintf("{transport: sip, sip: {server: %q, user: office, password_file: sip_password, register: true, receipts: true}}", p.addr),
		false, map[string]string{"sip_password": sipPassword}), p
}

// known lets f have the requests of who answers a challenge with the password.
func (p *sipTrunk) known(f sipgo.RequestHandler) sipgo.RequestHandler {
	chal := &digest.Challenge{Realm: "trunk", Nonce: "abc", Algorithm: "MD5", QOP: []string{"auth"}}
	return func(req *sip.Request, tx sip.ServerTransaction) {
		if h := req.GetHeader("Authorization"); h != nil {
			if got, err := digest.ParseCredentials(h.Value()); err == nil {
				want, err := digest.Digest(chal, digest.Options{Method: string(req.Method), URI: got.URI, Username: "office", Password: sipPassword, Count: got.Nc, Cnonce: got.Cnonce})
				if err == nil && want.Response == got.Response {
					f(req, tx)
					return
				}
			}
		}
		res := sip.NewResponseFromRequest(req, 401, "Unauthorized", nil)
		res.AppendHeader(sip.NewHeader("WWW-Authenticate", chal.String()))
		_ = tx.Respond(res)
	}
}

func (p *sipTrunk) ready() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.contact != nil
}

func (p *sipTrunk) shown(number string) (got []sms.Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.taken {
		if m.To == number {
			got = append(got, m)
		}
	}
	return got
}

func (p *sipTrunk) phone(number string) (got []string) {
	for _, m := range p.shown(number) {
		got = append(got, m.Body)
	}
	return got
}

func (p *sipTrunk) offer(ctx context.Context, id, from, kind, body string) error {
	p.mu.Lock()
	contact := p.contact.Clone()
	p.mu.Unlock()
	req := sip.NewRequest(sip.MESSAGE, *contact)
	f := &sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: from, Host: "trunk.example"}}
	f.Params.Add("tag", "x")
	req.AppendHeader(f)
	req.AppendHeader(&sip.ToHeader{Address: sip.Uri{Scheme: "sip", User: officeLine, Host: "trunk.example"}})
	call := sip.CallIDHeader(id)
	req.AppendHeader(&call)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: 7, MethodName: sip.MESSAGE})
	req.AppendHeader(sip.NewHeader("Content-Type", kind))
	req.SetBody([]byte(body))
	req.SetDestination(contact.HostPort())
	req.SetTransport("UDP")
	req.Laddr = sip.Addr{IP: p.addr.IP, Port: p.addr.Port}
	client, err := sipgo.NewClient(p.ua)
	if err != nil {
		return err
	}
	res, err := client.Do(ctx, req)
	if err == nil && !res.IsSuccess() {
		err = fmt.Errorf("%d", res.StatusCode)
	}
	return err
}

func (p *sipTrunk) reply(ctx context.Context, id, from, body string) error {
	return p.offer(ctx, id, from, "text/plain;charset=utf-8", body)
}

func (p *sipTrunk) delivered(ctx context.Context, number string) error {
	texts := p.shown(number)
	if len(texts) == 0 {
		return errors.New("nothing has come")
	}
	return p.offer(ctx, "report-"+number[1:], number, "message/cpim", "From: <sip:x@y>\r\nTo: <sip:z@y>\r\nDateTime: 2026-11-23T11:17:40Z\r\n\r\nContent-Type: message/imdn+xml\r\n\r\n"+
		`<?xml version="1.0" encoding="UTF-8"?><imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>`+texts[0].ID+
		"</message-id><datetime>2026-11-23T11:17:40Z</datetime><delivery-notification><status><delivered/></status></delivery-notification></imdn>")
}
