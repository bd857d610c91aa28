package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf16"

	"textback/sms"
	"textback/sms/smstest"
)

// kannel is a real Kannel: bearerbox and smsbox, with the fake SMSC of its own
// test tools as the phone side. All of it is on loopback.
type kannel struct {
	t     *testing.T
	dir   string
	admin string // base URL of bearerbox's commands
	send  string // base URL of sendsms
	smsc  string // port that fakesmsc connects to
	hook  string // PUBLIC_URL in kannel.conf
	phone *phone

	mu      sync.Mutex
	handler http.Handler // of webhooks
}

const fakesmsc = "/usr/lib/kannel/test/fakesmsc"

func start(t *testing.T, dir, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.OpenFile(filepath.Join(dir, filepath.Base(name)+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	log.Close()
	return cmd
}

func stop(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func startKannel(t *testing.T) *kannel {
	for _, part := range []string{"bearerbox", "smsbox", fakesmsc} {
		if _, err := exec.LookPath(part); err != nil {
			smstest.Unavailable(t, "%s is not installed (apt: kannel kannel-extras)", part)
		}
	}
	if testing.Short() && os.Getenv("CI") != "true" {
		t.Skip("real part, left out by -short")
	}
	k := &kannel{t: t, dir: t.TempDir()}
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.mu.Lock()
		h := k.handler
		k.mu.Unlock()
		if h == nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		http.StripPrefix("/hook", h).ServeHTTP(w, r)
	}))
	t.Cleanup(hook.Close)
	k.hook = hook.URL + "/hook"
	var ports [4]string
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // once all four are known, so that none is given twice
		_, ports[i], _ = net.SplitHostPort(l.Addr().String())
	}
	k.admin, k.send, k.smsc = "http://127.0.0.1:"+ports[0], "http://127.0.0.1:"+ports[3], ports[2]
	conf := fmt.Sprintf(`group = core
admin-port = %s
admin-interface = 127.0.0.1
admin-password = x
smsbox-port = %s
smsbox-interface = 127.0.0.1
box-allow-ip = 127.0.0.1
dlr-storage = internal

group = smsc
smsc = fake
smsc-id = FAKE
our-host = 127.0.0.1
host = 127.0.0.1
port = %s

group = smsbox
bearerbox-host = 127.0.0.1
sendsms-port = %s
sendsms-interface = 127.0.0.1
http-request-retry = 100
http-queue-delay = 1

group = sendsms-user
username = office
password = %s
concatenation = true
max-messages = 10

group = sms-service
keyword = default
catch-all = true
max-messages = 0
omit-empty = true
get-url = "%s/inbound?secret=%s&id=%%I&from=%%p&to=%%P&text=%%b&charset=%%C&time=%%T"
`, ports[0], ports[1], ports[2], ports[3], testSecret, k.hook, testInbound)
	if err := os.WriteFile(filepath.Join(k.dir, "kannel.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	return k
}

// run starts the boxes once the ports are free.
func (k *kannel) run() {
	boxes := []*exec.Cmd{start(k.t, k.dir, "bearerbox", "-v", "1", "kannel.conf")}
	k.t.Cleanup(func() {
		for _, b := range boxes {
			stop(b)
		}
		if k.t.Failed() {
			for _, name := range []string{"bearerbox", "smsbox"} {
				b, _ := os.ReadFile(filepath.Join(k.dir, name+".log"))
				k.t.Logf("%s:\n%s", name, b[max(0, len(b)-3000):])
			}
		}
	})
	k.until("bearerbox listens", func() bool { return listens(k.admin) })
	boxes = append(boxes, start(k.t, k.dir, "smsbox", "-v", "1", "kannel.conf"))
	k.until("smsbox listens", func() bool { return listens(k.send) })
	k.plug()
}

func listens(base string) bool {
	c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err == nil {
		c.Close()
	}
	return err == nil
}

func (k *kannel) until(what string, ok func() bool) {
	k.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			k.t.Fatalf("never: %s", what)
		}
	}
}

// ask gives bearerbox a command.
func (k *kannel) ask(command string) string {
	resp, err := http.Get(k.admin + "/" + command + "?password=x&smsc=FAKE")
	if err != nil {
		k.t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

// online reports whether the SMSC's link is up.
func (k *kannel) online() bool { return strings.Contains(k.ask("status.txt"), "(online") }

var receivedTexts = regexp.MustCompile(`FAKE.*rcvd: sms (\d+)`)

// received is how many texts have come from the phone side.
func (k *kannel) received() int {
	n := 0
	if m := receivedTexts.FindStringSubmatch(k.ask("status.txt")); m != nil {
		_, _ = fmt.Sscan(m[1], &n)
	}
	return n
}

// plug connects a phone side that says texts ("sender receiver type words") at once.
func (k *kannel) plug(says ...string) {
	count := len(says)
	texts, before := k.phone.texts(), k.received()
	k.unplug()
	if len(says) == 0 {
		says = []string{"1 2 text never"} // it wants one, and sends none
	}
	args := append([]string{"-H", "127.0.0.1", "-r", k.smsc, "-i", "0.01", "-m", fmt.Sprint(count)}, says...)
	// The port is closed for a moment after the link was stopped, and fakesmsc ends
	// then. Knocking first would be a phone side too, and would be given texts.
	k.until("the link is up", func() bool {
		p := &phone{seen: texts, cmd: exec.Command(fakesmsc, args...), gone: make(chan struct{})}
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		out, err := p.cmd.StderrPipe()
		if err == nil {
			err = p.cmd.Start()
		}
		if err != nil {
			k.t.Fatal(err)
		}
		go func() { defer close(p.gone); p.listen(out) }()
		k.phone = p
		for !k.online() {
			select {
			case <-p.gone:
				k.unplug()
				return false
			case <-time.After(5 * time.Millisecond):
			}
		}
		return true
	})
	k.until("what the phone says has arrived", func() bool { return k.received() >= before+count })
}

func (k *kannel) unplug() {
	if k.phone != nil && k.phone.cmd != nil {
		_ = k.phone.cmd.Process.Kill()
		<-k.phone.gone // all it said is read
		_ = k.phone.cmd.Wait()
		k.phone.cmd = nil
	}
}

// phone is the handset side: what fakesmsc was given, put together again.
type phone struct {
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has said its last

	mu    sync.Mutex
	seen  []sms.Message
	parts map[string][]string
}

func (p *phone) texts() []sms.Message {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]sms.Message(nil), p.seen...)
}

var (
	gotMessage = regexp.MustCompile(`Got message \d+: <(.*)>$`)
	wholeText  = regexp.MustCompile(`^(\S+) (\S+) (text|ucs-2|data) (.*)$`)
	onePart    = regexp.MustCompile(`^(\S+) (\S+) udh (\S+) (?:data|text|ucs-2) (.*)$`)
)

func (p *phone) listen(r io.Reader) {
	for s := bufio.NewScanner(r); s.Scan(); {
		m := gotMessage.FindStringSubmatch(s.Text())
		if m == nil {
			continue
		}
		p.mu.Lock()
		switch whole, part := wholeText.FindStringSubmatch(m[1]), onePart.FindStringSubmatch(m[1]); {
		case part != nil:
			udh, _ := url.QueryUnescape(part[3])
			words, _ := url.QueryUnescape(part[4])
			if p.parts == nil {
				p.parts = map[string][]string{}
			}
			key := udh[3:4]
			if p.parts[key] == nil {
				p.parts[key] = make([]string, udh[4])
			}
			p.parts[key][udh[5]-1] = words
			if all := strings.Join(p.parts[key], ""); !contains(p.parts[key], "") {
				if all[0] == 0 || all[0] == 4 { // UCS-2: these tests write ASCII and Cyrillic
					all = fromUTF16(all)
				}
				p.seen = append(p.seen, sms.Message{From: part[1], To: part[2], Body: all})
			}
		case whole != nil:
			body := whole[4]
			if whole[3] == "ucs-2" {
				b, _ := url.QueryUnescape(body)
				body = fromUTF16(b)
			}
			p.seen = append(p.seen, sms.Message{From: whole[1], To: whole[2], Body: body})
		case len(p.seen) > 0: // the fake SMSC's protocol has no escape for a new line
			p.seen[len(p.seen)-1].Body += "\n" + m[1]
		}
		p.mu.Unlock()
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func fromUTF16(s string) string {
	var u []uint16
	for i := 0; i+1 < len(s); i += 2 {
		u = append(u, uint16(s[i])<<8|uint16(s[i+1]))
	}
	return string(utf16.Decode(u))
}

// say is a text for fakesmsc. It takes plain words as they are but for what its
// command line splits at, and UTF-16 percent-encoded.
func say(m sms.Inbound) string {
	if !strings.ContainsFunc(m.Body, func(r rune) bool { return r > 0xffff }) {
		return m.From + " " + m.To + " text " + m.Body
	}
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(m.Body)) {
		fmt.Fprintf(&b, "%%%02X%%%02X", u>>8, u&0xff)
	}
	return m.From + " " + m.To + " ucs2 " + b.String()
}

// line is the suite's Peer: the way to the real Kannel, on which requests are
// lost, changed and cut.
type line struct {
	*kannel
	*smstest.Server

	fateMu sync.Mutex
	before smstest.Order
	from   int      // texts before this one are of earlier tests
	dlr    []string // each submission's dlr-url
}

func newLine(t *testing.T, k *kannel) *line {
	l := &line{kannel: k, from: len(k.phone.texts())}
	l.Server = smstest.Serve(t, l)
	l.Do(smstest.Order{Fate: smstest.Take})
	t.Cleanup(func() {
		l.Do(smstest.Order{Fate: smstest.Take})
		k.mu.Lock()
		defer k.mu.Unlock()
		k.handler = nil
	})
	return l
}

func (l *line) Do(o smstest.Order) {
	transient := smstest.Order{Fate: smstest.Refuse, Class: sms.Transient}
	switch {
	case o == transient:
		l.ask("stop-smsc")
		l.until("the link is stopped", func() bool { return !l.online() })
	case l.before == transient:
		l.ask("start-smsc")
		l.plug()
	}
	l.before = o
	l.Server.Do(o)
}

func (l *line) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	o := l.Order()
	l.fateMu.Lock()
	l.dlr = append(l.dlr, q.Get("dlr-url"))
	l.fateMu.Unlock()
	target, _ := url.Parse(l.send)
	proxy := httputil.NewSingleHostReverseProxy(target)
	switch {
	case o.Fate == smstest.Cut:
		panic(http.ErrAbortHandler)
	case o.Fate == smstest.Refuse && o.Class == sms.Unauthorized:
		q.Set("password", "other")
	case o.Fate == smstest.Refuse && o.Class == sms.Misconfigured:
		q.Del("from")
	}
	r.URL.RawQuery = q.Encode()
	if o.Fate == smstest.TakeAndHang || o.Fate == smstest.TakeAndCut {
		proxy.ServeHTTP(httptest.NewRecorder(), r)
		if o.Fate == smstest.TakeAndHang {
			<-r.Context().Done()
		}
		panic(http.ErrAbortHandler)
	}
	proxy.ServeHTTP(w, r)
}

func (l *line) Taken() []sms.Message {
	all := l.phone.texts()
	return all[min(l.from, len(all)):]
}

func (l *line) Serve(w sms.WebhookTaker, in sms.Inbox) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handler = w.Webhook(in)
}

// Reply sends one text from the phone. Kannel tries again by itself.
func (l *line) Reply(_ context.Context, m sms.Inbound) error {
	l.plug(say(m))
	return nil
}

// Report fills dlr-url in as Kannel does: the fake SMSC delivers everything, and
// at once. TestKannelByItself checks what Kannel sends.
func (l *line) Report(ctx context.Context, n int, d sms.Delivery, _ sms.Class) error {
	l.fateMu.Lock()
	target := l.dlr[n]
	l.fateMu.Unlock()
	code := map[sms.Delivery]string{sms.EnRoute: "8", sms.Delivered: "1", sms.Undelivered: "2"}[d]
	target = strings.NewReplacer("%d", code, "%T", "1795647686").Replace(target)
	r, err := http.NewRequestWithContext(ctx, "GET", target, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	return nil
}

func TestKannel(t *testing.T) {
	k := startKannel(t)
	k.run()
	t.Cleanup(k.unplug)

	smstest.Run(t, smstest.Harness{
		Refusals: []sms.Class{sms.Transient, sms.Unauthorized, sms.Misconfigured},
		Fates:    everyFate,
		New: func(t *testing.T) (sms.Transport, smstest.Peer) {
			l := newLine(t, k)
			tr, err := New(account("kannel", l.URL, k.hook))
			if err != nil {
				t.Fatal(err)
			}
			return tr, l
		},
	})
}

// book collects what a transport was given.
type book struct {
	mu       sync.Mutex
	inbound  []sms.Inbound
	receipts []sms.DeliveryReceipt
	err      error // what it answers instead
}

func (b *book) Received(_ context.Context, m sms.Inbound) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.inbound = append(b.inbound, m)
	}
	return b.err
}

func (b *book) Receipt(_ context.Context, r sms.DeliveryReceipt) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil {
		b.receipts = append(b.receipts, r)
	}
	return b.err
}

func (b *book) got() ([]sms.Inbound, []sms.DeliveryReceipt) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]sms.Inbound(nil), b.inbound...), append([]sms.DeliveryReceipt(nil), b.receipts...)
}

// What Kannel does by itself, without anything of ours in between but the handler.
func TestKannelByItself(t *testing.T) {
	k := startKannel(t)
	k.run()
	t.Cleanup(k.unplug)
	tr, err := New(account("kannel", k.send, k.hook))
	if err != nil {
		t.Fatal(err)
	}
	in := &book{}
	k.mu.Lock()
	k.handler = tr.Webhook(in)
	k.mu.Unlock()

	// A receipt for "handed to the SMSC" and one for "the handset has it", with our
	// id. Kannel sends both at the same moment: either may come first.
	m := sms.Message{ID: "job-1.a_b", From: "+12125550100", To: "+12025550143", Body: "Miller & Söhne: 100% + €5 [ok]"}
	if _, err := tr.Submit(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	k.until("two receipts", func() bool { _, r := in.got(); return len(r) == 2 })
	_, receipts := in.got()
	for _, r := range receipts {
		if r.MessageID != m.ID || r.Class != "" || time.Since(r.At).Abs() > time.Minute {
			t.Errorf("%+v", r)
		}
	}
	if a, b := receipts[0].Delivery, receipts[1].Delivery; a == b || a == sms.Undelivered || b == sms.Undelivered {
		t.Errorf("%s, %s", a, b)
	}
	if got := k.phone.texts(); len(got) != 1 || got[0].Body != m.Body {
		t.Errorf("the phone shows %v", got)
	}

	// A long reply comes in parts from the network and as one from Kannel; its time and id are told.
	for _, part := range []string{"%01 first half, 😀-free", "%02 & second half"} {
		k.plug("+12025550143 +12125550100 udh-text %05%00%03%09%02" + part)
	}
	k.until("the long reply", func() bool { m, _ := in.got(); return len(m) == 1 })
	texts, _ := in.got()
	if r := texts[0]; !strings.HasPrefix(r.Body, "first half") || !strings.HasSuffix(r.Body, "& second half") || r.ID == "" || r.From != m.To || time.Since(r.At).Abs() > time.Minute {
		t.Errorf("%+v", r)
	}

	// What is no text is none, and nothing is ever said back to the phone by Kannel itself.
	k.plug("+12025550143 +12125550100 data %00%01%02%ff")
	k.plug("+12025550143 +12125550100 text last")
	k.until("the last one", func() bool { m, _ := in.got(); return len(m) == 2 })
	if texts, _ = in.got(); texts[1].Body != "last" {
		t.Errorf("%+v", texts[1])
	}
	if got := k.phone.texts(); len(got) != 1 {
		t.Errorf("Kannel answers by itself: %v", got)
	}

	// With no phone side Kannel takes the text and keeps it.
	k.unplug()
	k.until("the link is down", func() bool { return !k.online() })
	m.ID, m.Body = "job-2", "kept"
	if _, err := tr.Submit(t.Context(), m); err != nil {
		t.Error(err)
	}
	k.plug()
	k.until("the kept text", func() bool { got := k.phone.texts(); return len(got) == 2 && got[1].Body == "kept" })
}
