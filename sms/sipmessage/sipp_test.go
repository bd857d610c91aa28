package sipmessage

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"textback/sms"
)

// sipp runs a scenario of testdata until its calls are over, and hands what it
// said to the test when one of them failed. code stands for CODE in it. It ends with the test.
func sipp(t *testing.T, scenario string, code int, args ...string) (wait func()) {
	t.Helper()
	if testing.Short() && os.Getenv("CI") != "true" {
		t.Skip("real part, left out by -short")
	}
	path, err := exec.LookPath("sipp")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("sipp is not installed")
		}
		t.Skip("sipp is not installed")
	}
	b, err := os.ReadFile(filepath.Join("testdata", scenario))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, scenario), bytes.ReplaceAll(b, []byte("CODE"), []byte(strconv.Itoa(code))), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, append([]string{"-sf", scenario, "-i", "127.0.0.1", "-nostdin", "-timeout", "30s", "-timeout_error", "-trace_err", "-error_file", "errors.log"}, args...)...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return func() {
		t.Helper()
		if err := <-ended; err != nil {
			log, _ := os.ReadFile(filepath.Join(cmd.Dir, "errors.log"))
			t.Errorf("sipp %s: %v\n%s\n%s", scenario, err, log, out.String()[max(0, out.Len()-3000):])
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().(*net.UDPAddr).Port
}

// sipp as the trunk: it checks our digest itself, and answers so late that we repeat the request.
func TestSippTrunk(t *testing.T) {
	for code, want := range map[int]sms.Class{202: "", 200: "", 403: sms.Rejected, 404: sms.Rejected, 500: sms.Ambiguous, 503: sms.Throttled, 401: sms.Unauthorized} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			port, secret := freePort(t), password
			if code == 401 {
				secret = "wrong"
			}
			wait := sipp(t, "trunk.xml", code, "-p", fmt.Sprint(port), "-m", "2")
			tr := running(t, Options{Server: fmt.Sprintf("127.0.0.1:%d", port), User: "office", Password: secret, Listen: "127.0.0.1:0"}, nil)
			m := sms.Message{ID: "job-1", From: "+12125550100", To: "+12025550143", Body: "sorry, we missed you"}
			r, err := tr.Submit(t.Context(), m)
			switch {
			case want == "" && (err != nil || r.Status != fmt.Sprint(code) || r.ProviderID != "job-1@textback"):
				t.Errorf("got %+v, %v", r, err)
			case want != "" && sms.ClassOf(err) != want:
				t.Errorf("got %+v, %v, want %s", r, err, want)
			}
			wait()
			if code == 503 {
				// It said for how long: until then it is left alone.
				if _, err := tr.Submit(t.Context(), m); sms.ClassOf(err) != sms.Throttled || !strings.Contains(err.Error(), "left alone") {
					t.Errorf("right after: %v", err)
				}
			}
		})
	}
}

// sipp as the phone.
func TestSippPhone(t *testing.T) {
	in := &box{first: true}
	port := freePort(t)
	tr := running(t, Options{Server: "127.0.0.1:9", Listen: "127.0.0.1:0", Region: "US"}, in)
	wait := sipp(t, "phone.xml", 0, "-p", fmt.Sprint(port), "-m", "1", listening(t, tr))
	wait()
	got := in.got()
	if len(got) != 1 || got[0].Body != "STOP" || got[0].From != "+12025550143" || got[0].To != "+12125550100" || !strings.HasSuffix(got[0].ID, "/2") {
		t.Errorf("stored: %+v", got)
	}
}
