package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"textback/pbx/testkit"
)

// externalNATS runs a NATS server that is not textback's at addr.
func externalNATS(t *testing.T, addr, store string) *server.Server {
	t.Helper()
	var port int
	if _, err := fmt.Sscanf(addr, "127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	ns, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: store, JetStreamMaxStore: 1 << 30, SyncAlways: true, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	ns.Start()
	if !ns.ReadyForConnections(time.Minute) {
		t.Fatal("the NATS server does not start")
	}
	t.Cleanup(func() { ns.Shutdown(); ns.WaitForShutdown() })
	return ns
}

// While textback waits for an external NATS it says so, and takes SIGHUP.
func TestWaitsForNATS(t *testing.T) {
	addr := testkit.FreeAddr(t)
	d := newDaemon(t, "", addr)
	d.start(0)
	bad := func(what string, code int, parts ...string) {
		t.Helper()
		d.until(what, func() bool {
			h, got := d.health()
			return got == code && h.OK == (code == 200) && slices.Equal(h.Bad, parts)
		})
	}
	bad("waiting", 503, "nats", "pbx")
	if err := d.signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	store := filepath.Join(t.TempDir(), "js")
	ns := externalNATS(t, addr, store)
	bad("connected", 200)
	d.until("the signal is obeyed", func() bool { return strings.Contains(d.log.String(), "rules reloaded") })
	d.until("ready", func() bool { return strings.Contains(d.said.String(), "READY=1") })
	before, _, _ := strings.Cut(d.said.String(), "READY=1")
	if strings.Contains(before, "RELOADING") {
		t.Error("a reload was announced before the daemon was ready")
	}
	if out := d.cli(0, "status"); !strings.Contains(out, "nats     ok") || !strings.Contains(out, "pbx      reading SIP") {
		t.Error(out)
	}
	if err := d.signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	d.until("a reload in order", func() bool {
		_, after, reloads := strings.Cut(d.said.String(), "RELOADING=1")
		return reloads && strings.Contains(after, "READY=1")
	})
	ns.Shutdown()
	ns.WaitForShutdown()
	bad("NATS is gone", 503, "nats")
	externalNATS(t, addr, store)
	bad("and comes back", 200)
	if err := d.signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// A daemon that never saw its PBX is not well, takes SIGHUP, and is not ready, so that
// no watchdog waits for it; nor does the watchdog end it once it is.
func TestNeverAttached(t *testing.T) {
	d := newDaemon(t, "asterisk: {url: 'http://127.0.0.1:1', user: textback, password_file: ari_password}", "")
	d.start(0)
	d.until("it says so", func() bool {
		h, code := d.health()
		return code == 503 && !h.OK && slices.Equal(h.Bad, []string{"pbx"}) && strings.HasPrefix(h.Parts["pbx"], "not attached")
	})
	d.until("it runs", func() bool { return strings.Contains(d.log.String(), "Asterisk is not there yet") })
	if out := d.cli(1, "status"); !strings.Contains(out, "NOT WELL") || !strings.Contains(out, "pbx      not attached") {
		t.Error(out)
	}
	if out := d.cli(1, "doctor"); !strings.Contains(out, "SICK  daemon      pbx: not attached") {
		t.Error(out)
	}
	if err := d.signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	d.until("reloaded", func() bool { return strings.Contains(d.log.String(), "rules reloaded") })
	if err := d.signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if said := d.said.String(); strings.Contains(said, "READY") || strings.Contains(said, "RELOADING") || strings.Contains(said, "WATCHDOG") {
		t.Errorf("it said %s", said)
	}
}
