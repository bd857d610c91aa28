package sipmessage

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/emiago/sipgo/sip"

	"textback/sms"
)

// raw is a MESSAGE as it stands on the wire. headers end in CRLF.
func raw(branch, callID string, seq int, headers, body string) string {
	return "MESSAGE sip:office@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;rport;branch=z9hG4bK" + branch +
		"\r\nFrom: \"Sarah\" <sip:+12025550143@trunk.example>;tag=1\r\nTo: <sip:+12125550100@trunk.example>\r\nCall-ID: " + callID +
		fmt.Sprintf("\r\nCSeq: %d MESSAGE\r\nMax-Forwards: 70\r\n%sContent-Length: %d\r\n\r\n%s", seq, headers, len(body), body)
}

// What bodies and headers mean.
func TestRead(t *testing.T) {
	tr, err := New(Options{Server: "192.0.2.1", User: "office", Region: "US"})
	if err != nil {
		t.Fatal(err)
	}
	from, to := "+12025550143", "+12125550100"
	at := time.Date(2026, 11, 23, 11, 17, 40, 0, time.UTC)
	const cpimHead = "From: <sip:a@b>\r\nTo: <sip:c@d>\r\nDateTime: 2026-11-23T11:17:40Z\r\nNS: imdn <urn:ietf:params:imdn>\r\n\r\n"
	const multi = "Content-Type: multipart/mixed;boundary=xyz\r\n"
	for name, c := range map[string]struct {
		headers, body string
		want          sms.Inbound
		code          int
	}{
		"plain":          {"Content-Type: text/plain\r\n", "STOP", sms.Inbound{Body: "STOP"}, 0},
		"no type":        {"", "STOP", sms.Inbound{Body: "STOP"}, 0},
		"compact type":   {"c: text/plain\r\n", "STOP", sms.Inbound{Body: "STOP"}, 0},
		"charset":        {"Content-Type: text/plain; charset=\"UTF-8\"\r\n", "Grüße 😀", sms.Inbound{Body: "Grüße 😀"}, 0},
		"latin-1":        {"Content-Type: text/plain;charset=ISO-8859-1\r\n", "Gr\xfc\xdfe", sms.Inbound{Body: "Grüße"}, 0},
		"not UTF-8":      {"Content-Type: text/plain\r\n", "STOP \xff\x00", sms.Inbound{Body: "STOP \ufffd"}, 0},
		"odd parameters": {"Content-Type: text/plain;charset\r\n", "STOP", sms.Inbound{Body: "STOP"}, 0},
		"a date":         {"Content-Type: text/plain\r\nDate: Mon, 23 Nov 2026 11:17:40 GMT\r\n", "x", sms.Inbound{Body: "x", At: at}, 0},
		"nothing":        {"Content-Type: text/plain\r\n", "", sms.Inbound{}, 0},
		"asserted":       {"P-Asserted-Identity: \"S\" <sip:12025550144@x;user=phone>, <tel:+12025550145>\r\n", "x", sms.Inbound{From: "+12025550144", Body: "x"}, 0},
		"asserted tel":   {"P-Asserted-Identity: <tel:+1-202-555-0145>\r\n", "x", sms.Inbound{From: "+12025550145", Body: "x"}, 0},
		"called party":   {"P-Called-Party-ID: <sip:2125550110@pbx>\r\n", "x", sms.Inbound{To: "+12125550110", Body: "x"}, 0},
		"cpim":           {"Content-Type: message/cpim\r\n", cpimHead + "Content-Type: text/plain; charset=utf-8\r\n\r\nSTOP 😀", sms.Inbound{Body: "STOP 😀", At: at}, 0},
		"cpim with LF":   {"Content-Type: message/cpim\r\n", strings.ReplaceAll(cpimHead+"Content-Type: text/plain\r\n\r\nSTOP", "\r", ""), sms.Inbound{Body: "STOP", At: at}, 0},
		"cpim base64":    {"Content-Type: message/CPIM\r\n", cpimHead + "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\nU1RPUA==", sms.Inbound{Body: "STOP", At: at}, 0},
		"half a cpim":    {"Content-Type: message/cpim\r\n", "From: <sip:a@b>\r\n", sms.Inbound{}, 415},
		"a picture":      {multi, "--xyz\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n--xyz\r\nContent-Type: text/plain\r\n\r\nlook\r\n--xyz--\r\n", sms.Inbound{Body: "look", Media: 1}, 0},
		"picture alone":  {multi, "--xyz\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n--xyz--\r\n", sms.Inbound{Media: 1}, 0},
		"multipart of 0": {multi, "nothing", sms.Inbound{}, 415},
		"HTML":           {"Content-Type: text/html\r\n", "<b>STOP</b>", sms.Inbound{}, 415},
		"other charset":  {"Content-Type: text/plain;charset=KOI8-R\r\n", "\xf0", sms.Inbound{}, 415},
		"packed":         {"Content-Encoding: gzip\r\n", "\x1f\x8b", sms.Inbound{}, 415},
		"requires":       {"Require: foo\r\n", "x", sms.Inbound{}, 420},
		"too long":       {"Content-Type: text/plain\r\n", strings.Repeat("x", maxText+1), sms.Inbound{}, 413},
	} {
		msg, err := sip.ParseMessage([]byte(raw("1", "abc@host", 7, c.headers, c.body)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := tr.read(msg.(*sip.Request))
		if got.code != c.code {
			t.Errorf("%s: %d %s, want %d", name, got.code, got.reason, c.code)
		}
		if c.code != 0 {
			continue
		}
		c.want.ID = "abc@host/7"
		if c.want.From == "" {
			c.want.From = from
		}
		if c.want.To == "" {
			c.want.To = to
		}
		if got.text == nil || !reflect.DeepEqual(*got.text, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got.text, c.want)
		}
	}
	msg, err := sip.ParseMessage([]byte(raw("1", "a", 1, "Content-Type: application/im-iscomposing+xml\r\n", "<isComposing/>")))
	if err != nil {
		t.Fatal(err)
	}
	if got := tr.read(msg.(*sip.Request)); got != (outcome{}) {
		t.Errorf("is typing: %+v", got)
	}
}

// A STOP must be found again under the number that texts go to.
func TestWhoseNumber(t *testing.T) {
	for _, c := range []struct {
		digits       bool
		region, from string
		want         string
	}{
		{true, "US", "442079460123", "+442079460123"},
		{true, "US", "12025550143", "+12025550143"},
		{true, "US", "2025550143", "+12025550143"},
		{true, "DE", "12025550143", "+12025550143"},
		{false, "US", "442079460123", "+442079460123"},
		{false, "DE", "015112345678", "+4915112345678"},
		{false, "US", "+12025550143", "+12025550143"},
		{true, "US", "73737", "73737"},
		{true, "US", "anonymous", "anonymous"},
		{false, "US", "somebody%20whose%20name%20is%20long", "somebody%20whose%20name%20is%20long"},
	} {
		tr, err := New(Options{Server: "192.0.2.1", User: "office", Region: c.region, Digits: c.digits})
		if err != nil {
			t.Fatal(err)
		}
		if got := tr.phone(c.from); got != c.want {
			t.Errorf("%+v: got %q", c, got)
		}
	}
}

func TestNotifications(t *testing.T) {
	const head = `<?xml version="1.0" encoding="UTF-8"?><imdn xmlns="urn:ietf:params:xml:ns:imdn"><message-id>job-1</message-id><datetime>2026-11-23T11:17:40Z</datetime>`
	for body, want := range map[string]*sms.DeliveryReceipt{
		"<delivery-notification><status><delivered/></status></delivery-notification>":     {Delivery: sms.Delivered, Code: "delivered"},
		"<delivery-notification><status><failed/></status></delivery-notification>":        {Delivery: sms.Undelivered, Class: sms.Rejected, Code: "failed"},
		"<delivery-notification><status><forbidden/></status></delivery-notification>":     {Delivery: sms.EnRoute, Code: "forbidden"},
		"<delivery-notification><status><error/></status></delivery-notification>":         {Delivery: sms.EnRoute, Code: "error"},
		"<processing-notification><status><stored/></status></processing-notification>":    {Delivery: sms.EnRoute, Code: "stored"},
		"<processing-notification><status><failed/></status></processing-notification>":    {Delivery: sms.Undelivered, Class: sms.Rejected, Code: "failed"},
		"<display-notification><status>\n  <displayed/>\n</status></display-notification>": {Delivery: sms.Delivered, Code: "displayed"},
		"<delivery-notification><status/></delivery-notification>":                         nil,
		"": nil,
	} {
		got := notification([]byte(head + body + "</imdn>"))
		if want != nil {
			want.ProviderID, want.MessageID = "job-1@textback", "job-1"
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", body, got, want)
		}
	}
	if got := notification([]byte(strings.ReplaceAll(head, "job-1", hashed+"00ff") + "<delivery-notification><status><delivered/></status></delivery-notification></imdn>")); got == nil || got.MessageID != "" || got.ProviderID != hashed+"00ff@textback" {
		t.Errorf("a Call-ID that is not a job id: %+v", got)
	}
}

// Repetitions are answered and stored once; strangers get no answer at all.
func TestOverTheWire(t *testing.T) {
	in := &box{}
	tr := running(t, Options{Server: "127.0.0.1:9", Listen: "127.0.0.1:0", Region: "US", Allow: []netip.Prefix{netip.MustParsePrefix("127.0.7.0/24")}}, in)
	to := listening(t, tr)
	dial := func(from string) net.Conn {
		a, err := net.ResolveUDPAddr("udp", from+":0")
		if err != nil {
			t.Fatal(err)
		}
		b, _ := net.ResolveUDPAddr("udp", to)
		c, err := net.DialUDP("udp", a, b)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	answer := func(c net.Conn) string {
		b := make([]byte, 4096)
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	stranger, server, allowed := dial("127.0.0.66"), dial("127.0.0.1"), dial("127.0.7.7")
	fmt.Fprint(stranger, raw("s", "stranger", 1, "", "STOP"))
	for range 3 {
		fmt.Fprint(server, raw("a", "one", 1, "", "first"))
		if got := answer(server); !strings.HasPrefix(got, "SIP/2.0 200 ") {
			t.Errorf("got %s", got)
		}
	}
	fmt.Fprint(allowed, raw("b", "two", 1, "", "second"))
	if got := answer(allowed); !strings.HasPrefix(got, "SIP/2.0 200 ") {
		t.Errorf("got %s", got)
	}
	// The same text by another way: stored again under the same id, for the inbox to know.
	fmt.Fprint(server, raw("c", "one", 1, "", "first"))
	answer(server)
	var got []string
	for _, m := range in.got() {
		got = append(got, m.ID+" "+m.Body)
	}
	if want := []string{"one/1 first", "two/1 second", "one/1 first"}; !reflect.DeepEqual(got, want) {
		t.Errorf("stored %q, want %q", got, want)
	}
	// What cannot be stored is not acknowledged, and may come again.
	in.refuse(true)
	fmt.Fprint(server, raw("d", "three", 1, "", "third"))
	if got := answer(server); !strings.HasPrefix(got, "SIP/2.0 503 ") || !strings.Contains(got, "Retry-After: "+retrySeconds+"\r\n") {
		t.Errorf("got %s", got)
	}
	in.refuse(false)
	fmt.Fprint(server, raw("e", "three", 2, "", "third"))
	if got := answer(server); !strings.HasPrefix(got, "SIP/2.0 200 ") {
		t.Errorf("got %s", got)
	}
	for _, method := range []string{"REGISTER", "SUBSCRIBE", "CANCEL"} {
		fmt.Fprint(server, strings.ReplaceAll(raw("m"+method, method, 1, "", ""), "MESSAGE", method))
		want := "SIP/2.0 405 "
		if method == "CANCEL" {
			want = "SIP/2.0 481 "
		}
		if got := answer(server); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", method, got)
		}
	}
	_ = stranger.SetReadDeadline(time.Now().Add(time.Millisecond)) // all others have been answered since
	if n, err := stranger.Read(make([]byte, 100)); err == nil {
		t.Errorf("a stranger got %d bytes", n)
	}
}

// A flood from an address that may be forged fills no memory, and stops no text of ours.
func TestFlood(t *testing.T) {
	in := &box{}
	p := newPeer(t, UDP)
	opt := p.options()
	opt.Register, opt.Listen = false, "127.0.0.1:0"
	tr := running(t, opt, in)
	b, err := net.ResolveUDPAddr("udp", listening(t, tr))
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, b)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const flood = 5000
	start := time.Now()
	for i := range flood {
		fmt.Fprint(c, raw(fmt.Sprint("f", i), fmt.Sprint("f", i), 1, "", "flood"))
	}
	if _, err := tr.Submit(t.Context(), text); err != nil {
		t.Error(err)
	}
	if n, most := len(in.got()), requestsAtOnce+int(time.Since(start).Seconds()*requestsPerSecond)+1; n > most || n == 0 {
		t.Errorf("%d of %d were let in, at most %d", n, flood, most)
	}
}

// Strangers' connections are closed, and even friends may not open any number of them.
func TestGate(t *testing.T) {
	tr := running(t, Options{Server: "127.0.0.1:9", Network: TCP, Listen: "127.0.0.1:0", Region: "US"}, nil)
	to := listening(t, tr)
	dial := func(from string) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		c, err := d.Dial("tcp", to)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	closed := func(c net.Conn) bool {
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		_, err := c.Read(make([]byte, 10))
		return err != nil && !strings.Contains(err.Error(), "timeout")
	}
	if !closed(dial("127.0.0.66")) {
		t.Error("a stranger's connection stays open")
	}
	var friends []net.Conn
	for range maxConnections {
		friends = append(friends, dial("127.0.0.1"))
	}
	if !closed(dial("127.0.0.1")) {
		t.Error("one more than allowed stays open")
	}
	for _, c := range friends {
		c.Close()
	}
	until(t, "there is room again", func() bool {
		c := dial("127.0.0.1")
		defer c.Close()
		fmt.Fprint(c, strings.Replace(raw("x", "tcp", 1, "", "hello"), "/UDP", "/TCP", 1))
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		b := make([]byte, 100)
		n, _ := c.Read(b)
		return strings.HasPrefix(string(b[:n]), "SIP/2.0 200 ")
	})
}

// Whatever trusted peers, or those who forge their address, send.
func FuzzIncoming(f *testing.F) {
	for _, s := range []string{
		raw("1", "a", 1, "Content-Type: text/plain;charset=iso-8859-1\r\n", "Gr\xfc\xdfe"),
		raw("1", "a", 1, "Content-Type: message/cpim\r\n", "From: <sip:a@b>\r\n\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\nU1RPUA=="),
		raw("1", "a", 1, "Content-Type: message/cpim\r\n", "a:b\n\nContent-Type: message/imdn+xml\n\n<imdn><message-id>j</message-id><delivery-notification><status><delivered/></status></delivery-notification></imdn>"),
		raw("1", "a", 1, "Content-Type: multipart/mixed;boundary=x\r\n", "--x\r\nContent-Type: image/png\r\n\r\n1\r\n--x\r\nContent-Type: multipart/mixed;boundary=y\r\n\r\n--y\r\n\r\nz\r\n--y--\r\n--x--"),
		raw("1", "a", 1, "P-Asserted-Identity: <tel:+1-202-555-0143;phone-context=x>\r\nP-Called-Party-ID: x\r\nDate: soon\r\n", "q"),
	} {
		f.Add([]byte(s))
	}
	tr, err := New(Options{Server: "192.0.2.1", User: "office", Region: "US"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		msg, err := sip.ParseMessage(b)
		if err != nil {
			return
		}
		req, ok := msg.(*sip.Request)
		if !ok {
			if res, ok := msg.(*sip.Response); ok {
				_ = tr.verdict(res, false)
				_ = granted(res, "127.0.0.1:5060", time.Minute)
			}
			return
		}
		o := tr.read(req)
		n := 0
		if o.text != nil {
			n++
			m := *o.text
			if m.From == "" || len(m.From) > 64 || len(m.To) > 64 || len(m.ID) > 128 || m.ID == "" || len(m.Body) > 3*maxText || strings.Contains(m.Body, "\x00") || !utf8.ValidString(m.Body) || m.Media > 2*maxParts*maxParts {
				t.Errorf("%+v", m)
			}
		}
		if o.receipt != nil {
			n++
			if o.receipt.ProviderID == "" || o.receipt.Code == "" || len(o.receipt.Code) > 100 || (o.receipt.Delivery == sms.Undelivered) != (o.receipt.Class != "") {
				t.Errorf("%+v", o.receipt)
			}
		}
		if o.code != 0 {
			n++
		}
		if n > 1 {
			t.Errorf("%+v", o)
		}
	})
}

// A carrier that connects to us by TLS, and one that does not speak it.
func TestListenTLS(t *testing.T) {
	cert, roots := certificate(t)
	in := &box{}
	tr := running(t, Options{Server: "127.0.0.1:9", Network: TLS, Listen: "127.0.0.1:0", Region: "US", TLS: &tls.Config{Certificates: []tls.Certificate{cert}}}, in)
	to := listening(t, tr)
	plainly, err := net.Dial("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer plainly.Close()
	fmt.Fprint(plainly, strings.Replace(raw("p", "plain", 1, "", "in the clear"), "/UDP", "/TCP", 1))
	c, err := tls.Dial("tcp", to, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	whole := strings.Replace(raw("t", "tls", 1, "", "STOP"), "/UDP", "/TLS", 1)
	for _, part := range []string{whole[:100], whole[100:]} { // a stream has no message boundaries
		fmt.Fprint(c, part)
	}
	b := make([]byte, 1000)
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, err := c.Read(b); !strings.HasPrefix(string(b[:n]), "SIP/2.0 200 ") {
		t.Errorf("%s %v", b[:n], err)
	}
	if got := in.got(); len(got) != 1 || got[0].Body != "STOP" || got[0].ID != "tls/1" {
		t.Errorf("stored: %+v", got)
	}
}
