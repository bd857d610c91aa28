// Package kannel is in charge of a real Kannel for tests: bearerbox and smsbox,
// with the fake SMSC of its own test tools as the phone side. All of it is on loopback.
package kannel

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf16"

	"textback/sms"
	"textback/sms/smstest"
)

// Options are what textback and Kannel must agree on.
type Options struct {
	Secret  string // password of sendsms user "office"
	Inbound string // the word that get-url repeats
	Hook    string // PUBLIC_URL in kannel.conf
}

// Kannel is a running one.
type Kannel struct {
	URL string // of sendsms

	t     *testing.T
	admin string // base URL of bearerbox's commands
	smsc  string // port that fakesmsc connects to
	phone *phone
}

const fakesmsc = "/usr/lib/kannel/test/fakesmsc"

// Run starts a bearerbox and an smsbox with a user "office" and the groups given,
// waits until they know each other, and returns the base URLs of bearerbox's
// commands (password "x") and of sendsms. They end with t, which is skipped where
// Kannel is not installed (see smstest.Unavailable).
func Run(t testing.TB, password, groups string) (admin, send string) {
	t.Helper()
	needs(t, "bearerbox", "smsbox")
	dir, ports := t.TempDir(), freePorts(t, 3)
	conf := fmt.Sprintf(`group = core
admin-port = %s
admin-interface = 127.0.0.1
admin-password = x
smsbox-port = %s
smsbox-interface = 127.0.0.1
box-allow-ip = 127.0.0.1
sms-resend-freq = 1
dlr-storage = internal

%s
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
`, ports[0], ports[1], groups, ports[2], password)
	if err := os.WriteFile(filepath.Join(dir, "kannel.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	admin, send = "http://127.0.0.1:"+ports[0], "http://127.0.0.1:"+ports[2]
	for _, box := range []string{"bearerbox", "smsbox"} {
		start(t, dir, box)
		until(t, box+" is there", func() bool {
			if box == "bearerbox" {
				c, err := net.Dial("tcp", "127.0.0.1:"+ports[1])
				if err == nil {
					c.Close()
				}
				return err == nil
			}
			// It listens before bearerbox knows it, and a text that comes in between kills it.
			resp, err := http.Get(admin + "/status.txt?password=x")
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			b, _ := io.ReadAll(resp.Body)
			return strings.Contains(string(b), "smsbox:")
		})
	}
	return admin, send
}

func needs(t testing.TB, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if _, err := exec.LookPath(part); err != nil {
			smstest.Unavailable(t, "%s is not installed (apt: kannel kannel-extras)", part)
		}
	}
	if testing.Short() && os.Getenv("CI") != "true" {
		t.Skip("real part, left out by -short")
	}
}

// start runs a box until t ends; of a test that failed its log is shown.
func start(t testing.TB, dir, box string) {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, box+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(box, "-v", "1", "kannel.conf")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			b, _ := os.ReadFile(log.Name())
			t.Logf("%s:\n%s", box, b[max(0, len(b)-3000):])
		}
	})
}

// freePorts are all held until the last is known, so that none is given twice.
func freePorts(t testing.TB, n int) (ports []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		ports = append(ports, port)
	}
	return ports
}

// Start runs a Kannel with a phone side that takes everything. It ends with t,
// and t is skipped where Kannel is not installed.
func Start(t *testing.T, opt Options) *Kannel {
	t.Helper()
	needs(t, fakesmsc)
	k := &Kannel{t: t, smsc: freePorts(t, 1)[0]}
	k.admin, k.URL = Run(t, opt.Secret, fmt.Sprintf(`group = smsc
smsc = fake
smsc-id = FAKE
our-host = 127.0.0.1
host = 127.0.0.1
port = %s

group = sms-service
keyword = default
catch-all = true
max-messages = 0
omit-empty = true
get-url = "%s/inbound?secret=%s&id=%%I&from=%%p&to=%%P&text=%%b&charset=%%C&time=%%T"
`, k.smsc, opt.Hook, opt.Inbound))
	k.Plug()
	t.Cleanup(k.Unplug)
	return k
}

// Until waits for ok.
func (k *Kannel) Until(what string, ok func() bool) {
	k.t.Helper()
	until(k.t, what, ok)
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// Ask gives bearerbox a command.
func (k *Kannel) Ask(command string) string {
	resp, err := http.Get(k.admin + "/" + command + "?password=x&smsc=FAKE")
	if err != nil {
		k.t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return string(b)
}

// Online reports whether the SMSC's link is up.
func (k *Kannel) Online() bool { return strings.Contains(k.Ask("status.txt"), "(online") }

var receivedTexts = regexp.MustCompile(`FAKE.*rcvd: sms (\d+)`)

// received is how many texts have come from the phone side.
func (k *Kannel) received() int {
	n := 0
	if m := receivedTexts.FindStringSubmatch(k.Ask("status.txt")); m != nil {
		_, _ = fmt.Sscan(m[1], &n)
	}
	return n
}

// Plug connects a phone side that says texts ("sender receiver type words") at once.
func (k *Kannel) Plug(says ...string) {
	count, before := len(says), k.received()
	k.Unplug()
	texts := k.phone.texts() // all that the old phone said has been read
	if len(says) == 0 {
		says = []string{"1 2 text never"} // it wants one, and sends none
	}
	args := append([]string{"-H", "127.0.0.1", "-r", k.smsc, "-i", "0.01", "-m", fmt.Sprint(count)}, says...)
	// The port is closed for a moment after the link was stopped, and fakesmsc ends
	// then. Knocking first would be a phone side too, and would be given texts.
	k.Until("the link is up", func() bool {
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
		for !k.Online() {
			select {
			case <-p.gone:
				k.Unplug()
				return false
			case <-time.After(5 * time.Millisecond):
			}
		}
		return true
	})
	k.Until("what the phone says has arrived", func() bool { return k.received() >= before+count })
}

// Unplug takes the phone side away.
func (k *Kannel) Unplug() {
	if k.phone != nil && k.phone.cmd != nil {
		_ = k.phone.cmd.Process.Kill()
		<-k.phone.gone // all it said is read
		_ = k.phone.cmd.Wait()
		k.phone.cmd = nil
	}
}

// Texts are what the phones have got.
func (k *Kannel) Texts() []sms.Message { return k.phone.texts() }

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
			if all := strings.Join(p.parts[key], ""); !slices.Contains(p.parts[key], "") {
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

func fromUTF16(s string) string {
	var u []uint16
	for i := 0; i+1 < len(s); i += 2 {
		u = append(u, uint16(s[i])<<8|uint16(s[i+1]))
	}
	return string(utf16.Decode(u))
}

// Say is a text for Plug. It takes plain words as they are but for what its
// command line splits at, and UTF-16 percent-encoded.
func Say(m sms.Inbound) string {
	if !strings.ContainsFunc(m.Body, func(r rune) bool { return r > 0xffff }) {
		return m.From + " " + m.To + " text " + m.Body
	}
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(m.Body)) {
		fmt.Fprintf(&b, "%%%02X%%%02X", u>>8, u&0xff)
	}
	return m.From + " " + m.To + " ucs2 " + b.String()
}
