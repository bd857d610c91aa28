package lab

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/coder/websocket"
)

// A Recording writes every event of a PBX as it arrives, one a line.
type Recording struct {
	p    *PBX
	ws   *websocket.Conn
	done chan error
}

// Record starts to record p's events into w. When it returns, events flow.
func Record(ctx context.Context, p *PBX, w io.Writer) (*Recording, error) {
	auth := base64.StdEncoding.EncodeToString([]byte(ARIUser + ":" + ARIPassword))
	url := strings.Replace(p.URL(), "http:", "ws:", 1) + "/ari/events?app=recording&subscribeAll=true"
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Basic " + auth}}})
	if err != nil {
		return nil, fmt.Errorf("record %v: %w", p.version, err)
	}
	ws.SetReadLimit(16 << 20)
	r := &Recording{p: p, ws: ws, done: make(chan error, 1)}
	go func() { r.done <- r.copy(w) }()
	return r, nil
}

func (r *Recording) copy(w io.Writer) error {
	for {
		_, event, err := r.ws.Read(context.Background())
		if websocket.CloseStatus(err) == websocket.StatusNormalClosure {
			return nil
		}
		if err != nil {
			return err
		}
		var line bytes.Buffer // Asterisk 16 sends an event over several lines
		if err := json.Compact(&line, event); err != nil {
			return err
		}
		line.WriteByte('\n')
		if _, err := w.Write(line.Bytes()); err != nil {
			return err
		}
	}
}

// Stop waits for the end of the last leg, and a moment for the last events, and ends the
// recording.
func (r *Recording) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_ = r.p.Quiet(ctx) // what is recorded tells it too
	time.Sleep(200 * time.Millisecond)
	_ = r.ws.Close(websocket.StatusNormalClosure, "") // the reader has the verdict
	if err := <-r.done; err != nil && websocket.CloseStatus(err) != websocket.StatusNormalClosure && !strings.Contains(err.Error(), "use of closed") {
		return fmt.Errorf("recording: %w", err)
	}
	return nil
}
