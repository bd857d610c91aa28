package main

import (
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"textback/pbx/bus"
	"textback/sms"
)

// office is a daemon's parts in this process, without a PBX: its NATS server, and what
// serve reads. more is added to textback.yaml.
func office(t *testing.T, log *slog.Logger, more string) (d *serving, connect func(bus.Role) (*nats.Conn, error)) {
	t.Helper()
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	t.Setenv("STATE_DIRECTORY", "")
	dir := t.TempDir()
	for name, content := range map[string]string{"rules.yaml": officeRules, "ari_password": "x", "textback.yaml": "state_dir: " + dir + "\n" + more} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var errs strings.Builder
	cfg, r, err := loadConfig(console{nil, io.Discard, &errs}, filepath.Join(dir, "textback.yaml"))
	if err != nil {
		t.Fatal(errs.String())
	}
	server, err := bus.Serve(bus.ServerOptions{StateDir: dir, Site: cfg.Site, MaxStore: 1 << 30, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	connect = func(role bus.Role) (*nats.Conn, error) {
		return bus.Connect(bus.ConnectOptions{Server: server, Role: role, Log: log})
	}
	d = &serving{cfg: cfg, log: log, m: newMetrics(), configPath: filepath.Join(dir, "textback.yaml")}
	d.rules.Store(r)
	if err := d.prepare(t.Context(), connect, true); err != nil {
		t.Fatal(err)
	}
	return d, connect
}

// A breaker outlives a restart, and so does what is said of it.
func TestBreakerAtStart(t *testing.T) {
	d, connect := office(t, slog.New(slog.DiscardHandler), "")
	nc, err := connect(bus.Sender)
	if err != nil {
		t.Fatal(err)
	}
	m := nats.NewMsg("textback.v1.sms.breaker.twilio")
	m.Data = []byte(`{"failures":5,"why":"transient","until":"` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `"}`)
	if _, err := bus.Publish(t.Context(), nc, m); err != nil {
		t.Fatal(err)
	}
	way := func(name string) sms.Way { return sms.Way{Name: name, Transport: &gateway{}} }
	if _, err := d.sender(t.Context(), nc, way("twilio"), way("telnyx")); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	d.m.handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{`textback_transport_up{transport="twilio"} 0`, `textback_transport_up{transport="telnyx"} 1`} {
		if !strings.Contains(w.Body.String(), want+"\n") {
			t.Errorf("no %s", want)
		}
	}
}

// Times in notices to staff follow a reload, as everything that rules.yaml says.
func TestNoticesFollowReload(t *testing.T) {
	d, _ := office(t, slog.New(slog.DiscardHandler), "")
	var opt sms.SenderOptions
	if err := d.listening(&opt); err != nil {
		t.Fatal(err)
	}
	for _, zone := range []string{"America/New_York", "Europe/Berlin"} {
		if err := os.WriteFile(d.cfg.Rules, []byte(strings.Replace(officeRules, "America/New_York", zone, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		d.reload()
		if got := opt.Notices.Zone().String(); got != zone {
			t.Errorf("%s, want %s", got, zone)
		}
	}
}
