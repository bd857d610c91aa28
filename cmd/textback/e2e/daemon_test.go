package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"textback/pbx"
	"textback/pbx/bus"
	"textback/pbx/event"
	"textback/pbx/lab"
	"textback/pbx/testkit"
	"textback/sms"
)

func TestMain(m *testing.M) { lab.Main(m) }

// binary is the daemon, built once.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "textback-e2e-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "textback")
	out, err := exec.Command("go", "build", "-buildvcs=false", "-o", path, "textback/cmd/textback").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// A provider takes texts the way Twilio does, and counts them. It stands for a
// provider only in what a test needs to see: what came, and how often.
type provider struct {
	*httptest.Server
	mu    sync.Mutex
	texts []text
	fault func(n int) string // "", "lose" (take it, break the line), "refuse", "busy"
}

type text struct{ to, from, body string }

func newProvider(t *testing.T) *provider {
	p := &provider{}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if user, pass, _ := r.BasicAuth(); user != account || pass != "provider-secret" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.Method != http.MethodPost || !strings.HasSuffix(r.URL.Path, "/Messages.json") || r.ParseForm() != nil {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"code":20404,"message":"not found","status":404}`)
		return
	}
	p.mu.Lock()
	fault := ""
	if p.fault != nil {
		fault = p.fault(len(p.texts) + 1)
	}
	if fault != "busy" {
		p.texts = append(p.texts, text{r.PostForm.Get("To"), r.PostForm.Get("From"), r.PostForm.Get("Body")})
	}
	n := len(p.texts)
	p.mu.Unlock()
	switch fault {
	case "lose":
		panic(http.ErrAbortHandler)
	case "busy":
		w.WriteHeader(http.StatusTooManyRequests)
		fmt.Fprint(w, `{"code":20429,"message":"too many requests","status":429}`)
		return
	}
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"sid":"SM%032x","status":"queued","num_segments":"1"}`, n)
}

// to are the texts a number got.
func (p *provider) to(number string) (got []text) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, t := range p.texts {
		if t.to == number {
			got = append(got, t)
		}
	}
	return got
}

func (p *provider) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.texts)
}

const account = "AC00000000000000000000000000000000"

const e2eRules = `version: 1
business: {name: Lab Dental}
timezone: UTC
guards: {quiet_hours: {texts: "0:00-24:00"}, budgets: {per_caller: "off", per_prefix: "off", per_minute: "off", segments_per_day: "off"}}
defaults: {delay: %s}
messages:
  rang: "{{.Business}}: rang out"
  declined: "{{.Business}}: declined"
  busy: "{{.Business}}: busy"
  unreachable: "{{.Business}}: unreachable"
  gave_up: "{{.Business}}: gave up"
  message: "{{.Business}}: message"
  greeting: "{{.Business}}: greeting"
rules:
  - {name: one ring, when: {outcome: abandoned, wait: {under: 1400ms}}, nothing: "a wrong number"}
  - {name: gave up, when: {outcome: abandoned}, send: gave_up}
  - {name: message, when: {outcome: voicemail, message_left: true}, send: message}
  - {name: greeting, when: {outcome: voicemail}, send: greeting}
  - {name: rang, when: {outcome: rang_out}, send: rang}
  - {name: declined, when: {outcome: declined}, send: declined}
  - {name: busy, when: {outcome: busy}, send: busy}
  - {name: unreachable, when: {outcome: unreachable}, send: unreachable}
`

// A daemon is textback serve with a state directory of its own, started and
// killed as a test likes.
type daemon struct {
	ari   bool // it follows events, which are recorded
	t     *testing.T
	dir   string
	addr  string // of its NATS server
	http  string
	cmd   *exec.Cmd
	ended chan error
	log   *os.File
	ready chan struct{}
}

func newDaemon(t *testing.T, pbx, provider, delay string) *daemon {
	t.Helper()
	d := &daemon{t: t, ari: strings.Contains(pbx, "asterisk:"), dir: t.TempDir(), addr: testkit.FreeAddr(t), http: testkit.FreeAddr(t)}
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("textback.yaml", fmt.Sprintf(`site: lab
state_dir: %s/state
pbx: {%s}
sms: {transport: twilio, twilio: {account_sid: %s, auth_token_file: token, base_url: %q}}
nats: {listen: %q}
http: {listen: %q}
log: {show_numbers: true, level: debug}
`, d.dir, pbx, account, provider, d.addr, d.http))
	write("ari_password", lab.ARIPassword)
	write("hep_key", lab.HEPKey)
	write("token", "provider-secret")
	write("rules.yaml", fmt.Sprintf(e2eRules, delay))
	var err error
	if d.log, err = os.Create(filepath.Join(d.dir, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.kill()
		if t.Failed() {
			b, _ := os.ReadFile(d.log.Name())
			if len(b) > 20_000 {
				b = b[len(b)-20_000:]
			}
			t.Logf("the daemon's log:\n%s", b)
		}
	})
	return d
}

// overARI is the configuration of the first witness of p.
func overARI(p *lab.PBX) string {
	return fmt.Sprintf("asterisk: {url: %q, user: %q, password_file: ari_password}", p.URL(), lab.ARIUser)
}

// overHEP is the configuration of the second, which is sent copies of p's SIP.
func overHEP(p *lab.PBX) string {
	return fmt.Sprintf("sip: {pbx: %s, trunks: [%s], all_phones: true, hep: {listen: %q, key_file: hep_key}}", p.Address(), strings.Join(p.Trunks(), ", "), p.HEP())
}

// overWire is the second witness too, reading along on the lab's interface.
func overWire(p *lab.PBX) string {
	return fmt.Sprintf("sip: {pbx: %s, trunks: [%s], all_phones: true, capture: {interfaces: [lo], ports: [5060, 5070]}}", p.Address(), strings.Join(p.Trunks(), ", "))
}

// start begins the daemon and waits until it says READY to its service manager.
func (d *daemon) start() {
	d.t.Helper()
	path, err := binary()
	if err != nil {
		d.t.Fatal(err)
	}
	sock := filepath.Join(d.dir, "notify")
	_ = os.Remove(sock)
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: sock, Net: "unixgram"})
	if err != nil {
		d.t.Fatal(err)
	}
	ready := make(chan struct{})
	go func() {
		buf, once := make([]byte, 4096), sync.Once{}
		for {
			n, err := l.Read(buf)
			if err != nil {
				return
			}
			if strings.Contains(string(buf[:n]), "READY=1") {
				once.Do(func() { close(ready) })
			}
		}
	}()
	args := []string{"serve", "--config", filepath.Join(d.dir, "textback.yaml")}
	if d.ari {
		args = append(args, "--record", filepath.Join(d.dir, "events.jsonl"))
	}
	d.cmd = exec.Command(path, args...)
	d.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+sock)
	d.cmd.Stdout, d.cmd.Stderr = d.log, d.log
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := d.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.ended = make(chan error, 1)
	go func(cmd *exec.Cmd, ended chan error) { ended <- cmd.Wait(); l.Close() }(d.cmd, d.ended)
	d.ready = ready
}

// attached waits until the daemon is ready.
func (d *daemon) attached() {
	d.t.Helper()
	select {
	case <-d.ready:
	case err := <-d.ended:
		d.ended <- err
		d.t.Fatalf("the daemon ended: %v", err)
	case <-time.After(2 * time.Minute):
		d.t.Fatal("the daemon is not ready after two minutes")
	}
}

// kill ends the daemon at once, as a power cut would.
func (d *daemon) kill() {
	if d.cmd == nil || d.cmd.Process == nil {
		return
	}
	_ = d.cmd.Process.Kill()
	<-d.ended
	d.cmd = nil
}

// stop ends it in order and wants exit code 0.
func (d *daemon) stop() {
	d.t.Helper()
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	if err := <-d.ended; err != nil {
		d.t.Errorf("the daemon ended with %v", err)
	}
	d.cmd = nil
}

// nats connects to the running daemon's server in a role.
func (d *daemon) nats(role bus.Role) *nats.Conn {
	d.t.Helper()
	nc, err := bus.Connect(bus.ConnectOptions{URL: "nats://" + d.addr, KeyFile: bus.KeyFile(filepath.Join(d.dir, "state"), role), Role: role})
	if err != nil {
		d.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := bus.WaitConnected(ctx, nc); err != nil {
		d.t.Fatal(err)
	}
	return nc
}

// calls are the stored ones.
func (d *daemon) calls() (calls []*pbx.Call) {
	d.t.Helper()
	nc := d.nats(bus.Reader)
	defer nc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := bus.Calls(ctx, nc, time.Time{}, func(c *pbx.Call) bool { calls = append(calls, c); return true }); err != nil {
		d.t.Fatal(err)
	}
	return calls
}

// jobs are the first texts' jobs by their call's id.
func (d *daemon) jobs() map[string]*sms.Job {
	d.t.Helper()
	nc := d.nats(bus.Admin)
	defer nc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out := map[string]*sms.Job{}
	if err := sms.Jobs(ctx, nc, func(j *sms.Job) {
		if j.Kind == sms.Text && !j.FollowUp {
			out[strings.TrimPrefix(j.Call, "lab/")] = j
		}
	}); err != nil {
		d.t.Fatal(err)
	}
	return out
}

// plays plays scenarios at once. On a machine that is too busy a phone's script
// goes wrong: that is the lab's failure, not the daemon's, and the test begins anew
// when plays returns false. The last time it is an error.
func (d *daemon) plays(p *lab.PBX, all []lab.Scenario, last bool) bool {
	d.t.Helper()
	err := lab.RunAll(d.t.Context(), p, all, len(all))
	if err == nil {
		return true
	}
	if last {
		d.t.Fatal(err)
	}
	d.t.Logf("the lab stumbled: %v", err)
	d.kill()
	return false
}

// settled waits until no call is in progress and no text is on its way.
func (d *daemon) settled() {
	d.t.Helper()
	for end := time.Now().Add(3 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		open := d.open()
		if open == "" {
			return
		}
		if time.Now().After(end) {
			d.t.Fatalf("never settled: %s", open)
		}
	}
}

func (d *daemon) open() string {
	nc := d.nats(bus.Admin)
	defer nc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	live, err := bus.LiveCalls(ctx, nc, "lab")
	if err != nil {
		return err.Error()
	}
	if len(live) > 0 {
		return fmt.Sprintf("%d calls in progress, such as %s", len(live), live[0].ID)
	}
	missed := map[string]bool{}
	for _, c := range d.calls() {
		missed[c.ID] = c.Missed()
	}
	for call, j := range d.jobs() {
		delete(missed, call)
		if j.Open() {
			return fmt.Sprintf("job of call %s is %s", call, j.State)
		}
	}
	for call, m := range missed {
		if m {
			return "call " + call + " is not planned"
		}
	}
	return ""
}

// run runs a subcommand of the binary with the daemon's configuration.
func (d *daemon) run(args ...string) (stdout string, code int) {
	d.t.Helper()
	path, err := binary()
	if err != nil {
		d.t.Fatal(err)
	}
	cmd := exec.Command(path, append(args, "--config", filepath.Join(d.dir, "textback.yaml"))...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if errs.Len() > 0 {
		d.t.Logf("%v: %s", args, errs.String())
	}
	if err != nil && cmd.ProcessState == nil {
		d.t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// schema validates events.
var schema = sync.OnceValues(func() (*jsonschema.Schema, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(event.Schema))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("call.json", doc); err != nil {
		return nil, err
	}
	return c.Compile("call.json")
})

func satisfies(t *testing.T, data []byte) {
	t.Helper()
	s, err := schema()
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(v); err != nil {
		t.Errorf("event does not satisfy its schema: %v\n%s", err, data)
	}
}

func runBinary(t *testing.T, args ...string) (string, int) {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	out, err := cmd.Output()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}
