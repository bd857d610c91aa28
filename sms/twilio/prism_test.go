package twilio

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"textback/sms"
	"textback/sms/smstest"
)

// The provider publishes its API as an OpenAPI document, and Prism serves such
// a document and checks requests against it: shape, not behaviour. Newer Prisms want newer Nodes.
const (
	cliCore  = "@twilio/cli-core@8.3.2"
	prismCLI = "@stoplight/prism-cli@5.14.2"
)

// prism starts Prism as "mock" or as "proxy" in front of upstream and returns its base URL.
func prism(t *testing.T, mode string, upstream ...string) string {
	t.Helper()
	dir := smstest.NPM(t, cliCore, prismCLI)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	l.Close()
	spec := filepath.Join(dir, "node_modules/@twilio/cli-core/src/services/twilio-api/twilio_api_v2010.json")
	doc, err := os.ReadFile(spec)
	if err != nil {
		t.Fatal(err)
	}
	// The document's own examples of lists break it: their page links are
	// relative, its format for them is absolute.
	spec = filepath.Join(t.TempDir(), "twilio_api_v2010.json")
	doc = regexp.MustCompile(`"format":\s*"uri"`).ReplaceAll(doc, []byte(`"format":"uri-reference"`))
	// Of the whole API, which Prism takes a minute to chew on, what concerns texts.
	var api map[string]any
	if err := json.Unmarshal(doc, &api); err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(api["paths"].(map[string]any), func(path string, _ any) bool { return !strings.Contains(path, "/Messages") })
	if doc, err = json.Marshal(api); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(spec, doc, 0o644); err != nil {
		t.Fatal(err)
	}
	args := append([]string{filepath.Join(dir, "node_modules/@stoplight/prism-cli/dist/index.js"), mode,
		"-h", "127.0.0.1", "-p", fmt.Sprint(addr.Port), "--errors", spec}, upstream...)
	cmd := exec.Command("node", args...)
	logPath := filepath.Join(t.TempDir(), "prism.log")
	log, err := os.Create(logPath)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		smstest.Unavailable(t, "node: %v", err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-exited
		log.Close()
		if t.Failed() {
			out, _ := os.ReadFile(logPath)
			t.Logf("prism's last words:\n%s", out[max(0, len(out)-4000):])
		}
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		select {
		case <-exited:
			t.Fatal("prism ended at once")
		default:
		}
		if c, err := net.Dial("tcp", addr.String()); err == nil {
			c.Close()
			return "http://" + addr.String()
		}
		if time.Now().After(deadline) {
			t.Fatal("prism does not listen")
		}
	}
}

func patient(o *Options) { o.ConnectTimeout, o.AnswerTimeout = 30*time.Second, 30*time.Second }

// Every request we make is one that the provider's own document allows, and
// every answer it describes is one that we can read.
func TestProvidersDocument(t *testing.T) {
	base := prism(t, "mock")
	const service = "MG0123456789abcdef0123456789abcdef"
	for name, change := range map[string]func(*Options){
		"number":   func(o *Options) {},
		"service":  func(o *Options) { o.MessagingServiceSID = service },
		"validity": func(o *Options) { o.Validity = 15 * time.Minute },
		"receipts": open,
		"API key":  func(o *Options) { o.AuthToken, o.APIKeySID, o.APIKeySecret = "", "SK1", "shh" },
	} {
		m := testMessage
		if name == "service" {
			m.From = ""
		}
		r, err := transport(t, base, patient, change).Submit(t.Context(), m)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !strings.HasPrefix(r.ProviderID, "SM") || r.Segments != 1 || r.Status != "queued" {
			t.Errorf("%s: got %+v", name, r)
		}
	}
	tr := transport(t, base, patient)
	if err := tr.Check(t.Context()); err != nil {
		t.Errorf("check: %v", err)
	}
	// The document's example of a list is read; nothing in it is ours.
	if _, found, err := tr.FateSince(t.Context(), testMessage, time.Now()); found || !errors.Is(err, ErrCannotTell) {
		t.Errorf("fate: got %v, %v", found, err)
	}

	// So is it by polling, and one text of it.
	p := &poller{t: tr, in: &store{}, known: map[string]string{}, created: map[string]time.Time{}, pending: map[string]*pending{}, behind: true}
	p.must(t)
	if _, found, err := tr.message(t.Context(), "SM00000000000000000000000000000001"); err != nil || !found {
		t.Errorf("one text: %v, %v", found, err)
	}

	// That Prism does check: a text to nobody, and an account id of another shape.
	m := testMessage
	m.To = ""
	if _, err := transport(t, base, patient, func(o *Options) { o.AccountSID = "AC1" }).Submit(t.Context(), m); sms.ClassOf(err) != sms.Rejected {
		t.Errorf("a wrong request: got %v, want it rejected", err)
	}
}
