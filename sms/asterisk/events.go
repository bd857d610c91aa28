package asterisk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coder/websocket"

	"textback/sms"
)

const (
	maxEvent = 1 << 20
	// Replies that wait for the Inbox. Beyond that reading stops, and TCP holds Asterisk back.
	maxWaiting = 256
	// How long the end waits for what has arrived to be stored.
	lastWords = 10 * time.Second
)

// Run keeps the event socket and hands what arrives to in, until ctx ends and
// what had arrived by then is stored, or has been given up with an error in the log.
func (t *Transport) Run(ctx context.Context, in sms.Inbox) error {
	waiting := make(chan sms.Inbound, maxWaiting)
	stored := make(chan struct{})
	last, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(lastWords, cancel) })()
	go func() {
		defer close(stored)
		for m := range waiting {
			t.store(ctx, last, in, m)
		}
	}()
	pause, lost := t.opt.MinPause, false
	for ctx.Err() == nil {
		up, err := t.session(ctx, waiting)
		if ctx.Err() != nil {
			break
		}
		if up || !lost {
			t.log.Warn("the event socket to Asterisk is away; texts that arrive now are lost", "error", err)
		}
		lost = true
		if up {
			pause = t.opt.MinPause
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		pause = min(2*pause, 30*time.Second)
	}
	close(waiting)
	<-stored
	return nil
}

// store gives m to the inbox until it takes it: Asterisk will not offer it again.
// After ctx has ended there is one more try, while last lasts.
func (t *Transport) store(ctx, last context.Context, in sms.Inbox, m sms.Inbound) {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 10*time.Second) {
		ended := ctx.Err() != nil
		sctx, cancel := context.WithTimeout(last, 10*time.Second)
		err := in.Received(sctx, m)
		cancel()
		if err == nil {
			return
		}
		if ended {
			t.log.Error("a text that came through Asterisk is lost: it could not be stored before the end", "error", err)
			return
		}
		t.log.Warn("a text that came through Asterisk cannot be stored yet", "error", err, "again_in", pause)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// session is one connection. up tells whether it was subscribed.
func (t *Transport) session(ctx context.Context, waiting chan<- sms.Inbound) (up bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Each connection has a name of its own: Asterisk 22 can keep the session of a
	// vanished client locked for ever, and whoever takes over its name waits with it.
	t.mu.Lock()
	t.turn = max(t.turn+1, t.opt.Now().Unix())
	app := fmt.Sprintf("%s-%d", t.opt.App, t.turn)
	t.mu.Unlock()
	ws, err := t.dial(ctx, app)
	if err != nil {
		return false, err
	}
	defer ws.CloseNow()
	ws.SetReadLimit(maxEvent)
	read := make(chan error, 1)
	go func() {
		for {
			_, data, err := ws.Read(context.WithoutCancel(ctx))
			if err != nil {
				read <- err
				return
			}
			if m, ok := t.event(data); ok {
				waiting <- m
			}
		}
	}()
	end := func(err error) (bool, error) {
		if ctx.Err() != nil {
			_ = ws.Close(websocket.StatusNormalClosure, "")
		}
		_ = ws.CloseNow()
		<-read
		return up, err
	}

	apps := "/applications/" + app
	// Fewer events of no interest; older Asterisks do not know it.
	_, _ = t.http.Do(ctx, t.request(http.MethodPut, apps+"/eventFilter", nil, map[string]any{"allowed": []any{map[string]string{"type": "TextMessageReceived"}}}))
	a, err := t.http.Do(ctx, t.request(http.MethodPost, apps+"/subscription", url.Values{"eventSource": {"endpoint:PJSIP/" + t.opt.Endpoint}}, nil))
	switch {
	case err != nil:
		return end(fmt.Errorf("subscribe to the endpoint: %w", err))
	case a.Status == 422:
		return end(errors.New("subscribe to the endpoint: Asterisk knows no such endpoint: look at \"pjsip show endpoints\""))
	case a.Status/100 != 2:
		return end(fmt.Errorf("subscribe to the endpoint: HTTP %d", a.Status))
	}
	up = true
	t.log.Info("texts arrive through Asterisk", "endpoint", t.opt.Endpoint)
	ping := time.NewTicker(t.opt.PingEvery)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return end(ctx.Err())
		case err := <-read:
			read <- err
			return end(errors.New("the connection was closed"))
		case <-ping.C:
			pctx, done := context.WithTimeout(ctx, t.opt.PingEvery)
			err := ws.Ping(pctx)
			done()
			if err != nil && ctx.Err() == nil {
				return end(errors.New("no pong: Asterisk hangs or the network does"))
			}
		}
	}
}

// dial opens the event socket. Its errors hold no URL and no credentials.
func (t *Transport) dial(ctx context.Context, app string) (*websocket.Conn, error) {
	r := t.request(http.MethodGet, "/events", url.Values{"app": {app}, "subscribeAll": {"false"}}, nil)
	dctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	ws, resp, err := websocket.Dial(dctx, r.URL, &websocket.DialOptions{HTTPHeader: r.Header, CompressionMode: websocket.CompressionDisabled})
	switch {
	case err == nil:
		return ws, nil
	case resp != nil && advice[resp.StatusCode] != "":
		return nil, fmt.Errorf("HTTP %d: %s", resp.StatusCode, advice[resp.StatusCode])
	case resp != nil:
		return nil, fmt.Errorf("HTTP %d", resp.StatusCode)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return nil, op.Err
	}
	return nil, errors.New("no connection to Asterisk's HTTP server")
}

// event makes a text of one raw event. ok is false for anything else.
func (t *Transport) event(raw []byte) (m sms.Inbound, ok bool) {
	var e struct {
		Type      string `json:"type"`
		Timestamp string `json:"timestamp"`
		Message   struct {
			From      string          `json:"from"`
			To        string          `json:"to"`
			Body      string          `json:"body"`
			Variables json.RawMessage `json:"variables"`
		} `json:"message"`
	}
	if json.Unmarshal(raw, &e) != nil || e.Type != "TextMessageReceived" {
		return m, false
	}
	var variables map[string]any // whatever is wrong with them, the text counts
	_ = json.Unmarshal(e.Message.Variables, &variables)
	value := func(name string) string {
		s, _ := variables[name].(string)
		return s
	}
	m = sms.Inbound{From: t.phone(e.Message.From), To: t.phone(e.Message.To), Body: strings.ReplaceAll(strings.ToValidUTF8(e.Message.Body, "\ufffd"), "\x00", "")}
	if pai := value("P-Asserted-Identity"); pai != "" && t.phone(pai) != "" {
		m.From = t.phone(pai)
	}
	if m.From == "" {
		return m, false
	}
	if at, err := time.Parse("2006-01-02T15:04:05.999-0700", e.Timestamp); err == nil {
		m.At = at.UTC()
	}
	// The carrier's own Call-ID and CSeq: the same for a text that it sends again.
	if id, seq := value("Call-ID"), value("CSeq"); id != "" {
		seq, _, _ = strings.Cut(strings.TrimSpace(seq), " ")
		m.ID = id + "/" + seq
		if len(m.ID) > 128 || strings.ContainsFunc(m.ID, func(r rune) bool { return r <= ' ' || r > '~' }) {
			sum := sha256.Sum256([]byte(m.ID))
			m.ID = hex.EncodeToString(sum[:])
		}
	}
	return m, true
}
