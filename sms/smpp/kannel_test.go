package smpp

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"

	"textback/sms/smpp/pdu"
	"textback/sms/smpp/smsc"
	kannels "textback/sms/smstest/kannel"
)

// kannel is a real Kannel whose SMPP client is bound to an smsc.SMSC: an
// implementation that we did not write proves the one that our tests stand on.
type kannel struct {
	send string // URL of sendsms
	hook string // and of dlr-url, up to the id

	mu       sync.Mutex
	receipts []string // "id type" of dlr-url
	replies  []url.Values
}

// startKannel binds a Kannel to s, on loopback only.
func startKannel(t testing.TB, s *smsc.SMSC) *kannel {
	t.Helper()
	k := &kannel{}
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		k.mu.Lock()
		defer k.mu.Unlock()
		if q := r.URL.Query(); r.URL.Path == "/receipt" {
			k.receipts = append(k.receipts, q.Get("id")+" "+q.Get("type"))
		} else {
			k.replies = append(k.replies, q)
		}
	}))
	t.Cleanup(hook.Close)
	host, port, _ := net.SplitHostPort(s.Addr())
	_, send := kannels.Run(t, "office", fmt.Sprintf(`group = smsc
smsc = smpp
smsc-id = PEER
our-host = 127.0.0.1
host = %s
port = %s
smsc-username = %s
smsc-password = %s
system-type = VMA
transceiver-mode = true
reconnect-delay = 1
enquire-link-interval = 1
max-pending-submits = %d
throughput = 0
source-addr-autodetect = yes
dest-addr-ton = 1
dest-addr-npi = 1

group = sms-service
keyword = default
catch-all = true
max-messages = 0
omit-empty = true
get-url = "%s/reply?from=%%p&to=%%P&text=%%b&charset=%%C&coding=%%c"
`, host, port, s.SystemID, s.Password, kannelWindow, hook.URL))
	k.send = send + "/cgi-bin/sendsms?username=office&password=office"
	k.hook = hook.URL + "/receipt?type=%d&id="
	until(t, "Kannel is bound", func() bool { return s.Bound() })
	return k
}

const kannelWindow = 10

// submit hands Kannel a text, with a wish for receipts if it has an id.
func (k *kannel) submit(id, body string) error {
	q := url.QueryEscape
	receipts := ""
	if id != "" {
		receipts = "&dlr-mask=31&dlr-url=" + q(k.hook+id)
	}
	resp, err := http.Get(k.send + receipts + "&from=" + q(testFrom) + "&to=" + q(testTo) + "&charset=utf-8&coding=" + coding(body) + "&text=" + q(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusAccepted {
		return fmt.Errorf("Kannel says %s: %s", resp.Status, b)
	}
	return nil
}

// coding is what Kannel must be told of a text: 2 for UCS-2.
func coding(body string) string {
	if strings.ContainsAny(body, "ж😀") {
		return "2"
	}
	return "0"
}

func (k *kannel) receipt(line string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.receipts {
		if r == line {
			return true
		}
	}
	return false
}

func (k *kannel) heard() []url.Values {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]url.Values(nil), k.replies...)
}

// The SMSC of our tests serves Kannel's client: binds, texts in every coding and in
// parts, receipts, replies, refusals, a broken connection.
func TestKannelAsClient(t *testing.T) {
	s := listen(t)
	var mu sync.Mutex
	refuse := 0
	s.Behave = func(pdu.Message, int) smsc.Behaviour {
		mu.Lock()
		defer mu.Unlock()
		if refuse--; refuse >= 0 {
			return smsc.Refuse(pdu.Throttled)
		}
		return smsc.Accept
	}
	k := startKannel(t, s)
	if b := s.Binds(); b[0].SystemID != "textback" || b[0].Password != "hush-pwd" || b[0].SystemType != "VMA" || b[0].Version != 0x34 {
		t.Errorf("bound as %+v", b[0])
	}

	send := func(id, body string) {
		t.Helper()
		if err := k.submit(id, body); err != nil {
			t.Fatal(err)
		}
	}
	texts := []string{
		"Miller Dental: sorry we missed you! [ok] {5€}",
		"Grüße @ Köln, è già £5",
		"жаль 😀",
		strings.Repeat("0123456789 ", 20) + "end",
		strings.Repeat("ждём вас ", 12) + "😀",
	}
	for i, body := range texts {
		send(fmt.Sprint("job", i), body)
		until(t, body, func() bool { return len(s.Texts()) == i+1 })
		got := s.Texts()[i]
		if got.Body != body || got.From != (pdu.Address{TON: 1, NPI: 1, Digits: testFrom[1:]}) || got.To.Digits != strings.TrimPrefix(testTo, "+") {
			t.Errorf("Kannel's text arrives as %+v, want %q", got, body)
		}
		until(t, "Kannel knows that the SMSC took it", func() bool { return k.receipt(fmt.Sprintf("job%d 8", i)) })
	}

	// Our receipts, for the SMSC's ids: 1 is delivered, 2 is not.
	for i, c := range []struct {
		state byte
		word  string
		kind  string
	}{{2, "DELIVRD", "1"}, {5, "UNDELIV", "2"}} {
		x := s.Submits()[i]
		if err := s.Report(t.Context(), x, x.ID, c.state, c.word); err != nil {
			t.Fatal(err)
		}
		until(t, "Kannel believes "+c.word, func() bool { return k.receipt(fmt.Sprintf("job%d %s", i, c.kind)) })
	}

	// Our replies.
	from, to := pdu.Address{TON: 1, NPI: 1, Digits: testTo[1:]}, pdu.Address{TON: 1, NPI: 1, Digits: testFrom[1:]}
	for i, body := range []string{"STOP", "Grüße [ok] 5€", "ждите 😀", strings.Repeat("a long answer ", 20) + "end"} {
		if err := s.Reply(t.Context(), from, to, body, byte(i)); err != nil {
			t.Fatal(err)
		}
		until(t, "reply "+body, func() bool { return len(k.heard()) == i+1 })
		got := k.heard()[i]
		text := got.Get("text")
		if got.Get("charset") == "UTF-16BE" {
			text = fromUTF16(text)
		}
		if text != body || got.Get("from") != testTo {
			t.Errorf("Kannel hears %q, want %q", got, body)
		}
	}

	// Throttled: Kannel comes again, and the text is taken once.
	before := len(s.Texts())
	mu.Lock()
	refuse = 2
	mu.Unlock()
	send("throttled", "throttled")
	until(t, "the throttled text", func() bool { return len(s.Texts()) == before+1 })
	// Kannel sends a text again whose answer the broken connection swallows.
	until(t, "Kannel knows that the SMSC took the throttled text", func() bool { return k.receipt("throttled 8") })

	// A broken connection: it binds again.
	until(t, "Kannel asks whether we are there", func() bool { return s.Enquired() > 0 })
	s.Drop()
	until(t, "bound again", func() bool { return len(s.Binds()) == 2 && s.Bound() })
	send("after", "after")
	until(t, "the text after", func() bool { return len(s.Texts()) == before+2 })
	if got := s.Texts()[before+1].Body; got != "after" {
		t.Errorf("%q", got)
	}
}

// fromUTF16 is not gsm7's, which it serves to test.
func fromUTF16(s string) string {
	var u []uint16
	for i := 0; i+1 < len(s); i += 2 {
		u = append(u, uint16(s[i])<<8|uint16(s[i+1]))
	}
	return string(utf16.Decode(u))
}
