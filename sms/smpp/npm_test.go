package smpp

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"textback/rules/gsm7"
	"textback/sms"
	"textback/sms/smpp/pdu"
	"textback/sms/smstest"
)

const npmSMPP = "smpp@0.5.1"

// node is testdata/smsc.js at work: SMSCs made of the npm package smpp.
type node struct {
	t     *testing.T
	stdin io.Writer

	mu    sync.Mutex
	n     int
	calls map[int]chan nodeAnswer
}

type nodeAnswer struct {
	N, Server, Port, Status int
	Submits                 []nodeSubmit
	Binds                   []map[string]any
}

type nodeSubmit struct {
	ID, From, To, Body string
	SourceTON          int `json:"source_ton"`
	DestTON            int `json:"dest_ton"`
	Registered, Coding int
	Minutes, Reference int
	Ref                int
	Total, Seq         int
}

func startNode(t *testing.T) *node {
	t.Helper()
	dir := smstest.NPM(t, npmSMPP)
	cmd := exec.Command("node", "testdata/smsc.js")
	cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(dir, "node_modules"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		smstest.Unavailable(t, "node: %v", err)
	}
	x := &node{t: t, stdin: stdin, calls: map[int]chan nodeAnswer{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s := bufio.NewScanner(stdout)
		s.Buffer(nil, 1<<20)
		for s.Scan() {
			var a nodeAnswer
			if err := json.Unmarshal(s.Bytes(), &a); err != nil {
				t.Errorf("node says %s", s.Bytes())
				return
			}
			x.mu.Lock()
			c := x.calls[a.N]
			delete(x.calls, a.N)
			x.mu.Unlock()
			if c != nil {
				c <- a
			}
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
		_ = cmd.Wait()
	})
	return x
}

func (x *node) do(ctx context.Context, command string, args map[string]any) nodeAnswer {
	c := make(chan nodeAnswer, 1)
	x.mu.Lock()
	x.n++
	x.calls[x.n] = c
	m := map[string]any{"n": x.n, "do": command}
	for k, v := range args {
		m[k] = v
	}
	b, _ := json.Marshal(m)
	_, err := x.stdin.Write(append(b, '\n'))
	x.mu.Unlock()
	if err != nil {
		x.t.Errorf("node: %v", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	select {
	case a := <-c:
		return a
	case <-ctx.Done():
		return nodeAnswer{Status: -1}
	}
}

// nodePeer is one of its SMSCs as the suite wants it.
type nodePeer struct {
	*node
	id, port int
	replies  byte
}

func (x *node) listen(t *testing.T, args map[string]any) *nodePeer {
	a := x.do(t.Context(), "listen", args)
	if a.Port == 0 {
		t.Fatal("node does not listen")
	}
	return &nodePeer{node: x, id: a.Server, port: a.Port}
}

func (p *nodePeer) addr() string { return fmt.Sprintf("127.0.0.1:%d", p.port) }

func (p *nodePeer) ask(ctx context.Context, command string, args map[string]any) nodeAnswer {
	all := map[string]any{"server": p.id}
	for k, v := range args {
		all[k] = v
	}
	return p.do(ctx, command, all)
}

func (p *nodePeer) Do(o smstest.Order) {
	order, bind := map[string]any{"take": true, "answer": true, "status": 0}, 0
	switch o.Fate {
	case smstest.Refuse:
		order = map[string]any{"answer": true, "status": int(statusOf(o.Class))}
		if o.Class == sms.Unauthorized {
			bind = int(pdu.InvalidPassword)
		}
	case smstest.TakeAndHang:
		order = map[string]any{"take": true}
	case smstest.TakeAndCut:
		order = map[string]any{"take": true, "cut": true}
	case smstest.Cut:
		order = map[string]any{"cut": true}
	}
	ctx := context.Background()
	p.ask(ctx, "order", map[string]any{"order": order, "bind": bind})
	switch {
	case o.Fate == smstest.Down:
		p.ask(ctx, "down", nil)
	case bind != 0:
		p.ask(ctx, "drop", nil)
	default:
		p.ask(ctx, "up", nil)
	}
}

func (p *nodePeer) submits() []nodeSubmit { return p.ask(context.Background(), "submits", nil).Submits }

func (p *nodePeer) Taken() (out []sms.Message) {
	parts := map[string][]string{}
	for _, s := range p.submits() {
		key := fmt.Sprint(s.To, s.Ref, s.Total)
		if parts[key] == nil {
			parts[key] = make([]string, s.Total)
		}
		parts[key][s.Seq-1] = s.Body
		if s.Total == 1 || s.Seq == s.Total { // ours come in order
			out = append(out, sms.Message{From: s.From, To: s.To, Body: strings.Join(parts[key], "")})
			delete(parts, key)
		}
	}
	return out
}

func (p *nodePeer) Drop() { p.ask(context.Background(), "drop", nil) }

func (p *nodePeer) deliver(ctx context.Context, m map[string]any) error {
	if a := p.ask(ctx, "deliver", map[string]any{"pdu": m}); a.Status != 0 {
		return fmt.Errorf("status %d", a.Status)
	}
	return nil
}

func (p *nodePeer) Reply(ctx context.Context, m sms.Inbound) error {
	p.replies++
	texts, encoding := gsm7.Split(m.Body)
	for i, text := range texts {
		short := map[string]any{"message": text}
		d := map[string]any{"source_addr_ton": 1, "source_addr_npi": 1, "source_addr": strings.TrimPrefix(m.From, "+"),
			"dest_addr_ton": 1, "dest_addr_npi": 1, "destination_addr": strings.TrimPrefix(m.To, "+"), "short_message": short, "data_coding": 0}
		if encoding == "UCS-2" {
			d["data_coding"] = 8
		}
		if len(texts) > 1 {
			d["esm_class"] = 0x40
			short["udh"] = hex.EncodeToString(gsm7.Part{Ref: uint16(p.replies), Total: byte(len(texts)), Seq: byte(i + 1)}.Header())
		}
		if err := p.deliver(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

func (p *nodePeer) Report(ctx context.Context, n int, d sms.Delivery, _ sms.Class) error {
	s := p.submits()[n]
	state, word := 1, "ENROUTE"
	switch d {
	case sms.Delivered:
		state, word = 2, "DELIVRD"
	case sms.Undelivered:
		state, word = 5, "UNDELIV"
	}
	return p.deliver(ctx, map[string]any{"source_addr": s.To, "destination_addr": s.From, "esm_class": 4, "receipted_message_id": s.ID, "message_state": state,
		"short_message": map[string]any{"message": "id:" + s.ID + " sub:001 dlvrd:001 submit date:2611251200 done date:2611251201 stat:" + word + " err:000 text:"}})
}

// The suite against an SMSC that we did not write: the npm package smpp decodes what we
// send and encodes what we read.
func TestSuiteNPM(t *testing.T) {
	x := startNode(t)
	smstest.Run(t, smstest.Harness{
		New: func(t *testing.T) (sms.Transport, smstest.Peer) {
			p := x.listen(t, nil)
			opt := options(t, p.addr())
			opt.Codes, opt.MaxSegments = vendor, 3
			return transport(t, opt), p
		},
		Refusals: []sms.Class{sms.Throttled, sms.Transient, sms.Invalid, sms.Misconfigured, sms.Rejected, sms.Unauthorized, sms.OptedOut},
		Fates:    []smstest.Fate{smstest.Down, smstest.TakeAndHang, smstest.TakeAndCut, smstest.Cut},
	})
}

// What the package reads in our PDUs beside the words: every field that we set, each way
// to send a long text, and all of it under TLS.
func TestNPM(t *testing.T) {
	x := startNode(t)
	key, cert, pool := certificate(t)
	for _, long := range []LongWay{ByUDH, BySAR, ByPayload} {
		t.Run(string(long), func(t *testing.T) {
			p := x.listen(t, map[string]any{"key": key, "cert": cert})
			opt := options(t, p.addr())
			opt.TLS, opt.Long, opt.Reference, opt.Validity, opt.SystemType = &tls.Config{RootCAs: pool}, long, true, 15*time.Minute, "VMA"
			tr := transport(t, opt)
			in := &inbox{}
			keep(t, tr, in)
			body := strings.Repeat("Grüße {5€} ", 30) + "end"
			r, err := tr.Submit(t.Context(), message(body))
			if err != nil {
				t.Fatal(err)
			}
			a := p.ask(t.Context(), "submits", nil)
			if len(a.Binds) != 1 || fmt.Sprint(a.Binds[0]) != "map[password:hush-pwd system_id:textback system_type:VMA version:52]" {
				t.Errorf("bound with %v", a.Binds)
			}
			n, _ := gsm7.Segments(body)
			want := n
			if long == ByPayload {
				want = 1
			}
			if len(a.Submits) != want || r.Segments != n || r.ProviderID != "npm-1" {
				t.Errorf("%d submits, %+v", len(a.Submits), r)
			}
			for i, s := range a.Submits {
				if s.SourceTON != 1 || s.DestTON != 1 || s.Registered != 1 || s.Coding != 0 || s.Minutes != 15 || s.Reference == 0 || s.Total != want || s.Seq != i+1 {
					t.Errorf("part %d is %+v", i, s)
				}
			}
			if got := p.Taken(); len(got) != 1 || got[0].Body != body {
				t.Errorf("%v", got)
			}
			// A receipt for each part; the text has arrived with the last.
			for i := range a.Submits {
				if err := p.Report(t.Context(), i, sms.Delivered, ""); err != nil {
					t.Fatal(err)
				}
			}
			fates := in.fates()
			if len(fates) != want {
				t.Fatalf("%d receipts", len(fates))
			}
			for i, f := range fates {
				d := sms.EnRoute
				if i == want-1 {
					d = sms.Delivered
				}
				if f.Delivery != d || f.ProviderID != "npm-1" || f.MessageID != "job-1" || f.Code != "DELIVRD" {
					t.Errorf("receipt %d is %+v", i, f)
				}
			}
		})
	}
	t.Run("a stranger's certificate", func(t *testing.T) {
		p := x.listen(t, map[string]any{"key": key, "cert": cert})
		opt := options(t, p.addr())
		opt.TLS = &tls.Config{}
		if err := Reach(t.Context(), opt); sms.ClassOf(err) != sms.Transient || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%v", err)
		}
		opt.TLS = &tls.Config{RootCAs: pool}
		if err := Reach(t.Context(), opt); err != nil {
			t.Error(err)
		}
		if a := p.ask(t.Context(), "submits", nil); len(a.Binds) != 0 {
			t.Errorf("bound with %v", a.Binds)
		}
	})
}

// certificate makes a key and a certificate for 127.0.0.1, as PEM.
func certificate(t testing.TB) (key, cert string, pool *x509.CertPool) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	kb, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(cert))
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kb})), cert, pool
}
