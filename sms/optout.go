package sms

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"textback/pbx/bus"
)

// OptOut is one change of somebody's mind, under textback.v1.optout.<key>. The
// last one counts.
type OptOut struct {
	Key    string    `json:"key"`
	Out    bool      `json:"out"` // false: texts are welcome again
	At     time.Time `json:"at"`
	Source string    `json:"source"` // "admin", "carrier", "import"
}

// OptOuts is the list of those who have said stop: a stream that nobody can
// delete from, and a copy in a file that is synced at each change. The union
// of both counts: whoever is out in either is out.
type OptOuts struct {
	nc   *nats.Conn
	key  Key
	mu   sync.Mutex
	path string
}

// OpenOptOuts joins the stream and the copy in dir: what one of them has lost
// it gets from the other. dir may be empty: then there is no copy.
func OpenOptOuts(ctx context.Context, nc *nats.Conn, key Key, dir string) (*OptOuts, error) {
	o := &OptOuts{nc: nc, key: key}
	if dir == "" {
		return o, nil
	}
	o.path = filepath.Join(dir, "optouts.jsonl")
	inFile, err := o.load()
	if err != nil {
		return nil, err
	}
	inStream := map[string]OptOut{}
	msgs, err := allOf(ctx, nc, OptOutStream, optOutPrefix+"*")
	if err != nil {
		return nil, fmt.Errorf("read opt-outs: %w", err)
	}
	for _, b := range msgs {
		var x OptOut
		if err := json.Unmarshal(b, &x); err != nil {
			return nil, fmt.Errorf("read opt-outs: %w", err)
		}
		inStream[x.Key] = x
		if have, ok := inFile[x.Key]; !ok || have.At.Before(x.At) {
			if err := o.save(x); err != nil {
				return nil, err
			}
		}
	}
	for k, x := range inFile {
		have, ok := inStream[k]
		if !ok && x.Out || ok && have.At.Before(x.At) {
			if err := o.publish(ctx, x); err != nil {
				return nil, err
			}
		}
	}
	return o, nil
}

func (o *OptOuts) load() (map[string]OptOut, error) {
	f, err := os.Open(o.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the copy of opt-outs: %w", err)
	}
	defer f.Close()
	out := map[string]OptOut{}
	r := bufio.NewReader(f)
	for n := 1; ; n++ {
		b, err := r.ReadBytes('\n')
		if err == io.EOF {
			return out, nil // a torn last line was never confirmed to anybody
		}
		if err != nil {
			return nil, fmt.Errorf("read the copy of opt-outs: %w", err)
		}
		var x OptOut
		if err := json.Unmarshal(b, &x); err != nil {
			return nil, fmt.Errorf("%s:%d: the copy of opt-outs is damaged: %w", o.path, n, err)
		}
		out[x.Key] = x
	}
}

func (o *OptOuts) save(x OptOut) error {
	if o.path == "" {
		return nil
	}
	b, err := json.Marshal(x)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(o.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("copy an opt-out: %w", err)
	}
	// Begin where the last whole line ends: a torn one must not swallow this.
	end, err := lastLineEnd(f)
	if err == nil {
		_, err = f.WriteAt(append(b, '\n'), end)
	}
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("copy an opt-out: %w", err)
	}
	return nil
}

func lastLineEnd(f *os.File) (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	end := st.Size()
	var b [1]byte
	for ; end > 0; end-- {
		if _, err := f.ReadAt(b[:], end-1); err != nil {
			return 0, err
		}
		if b[0] == '\n' {
			break
		}
	}
	return end, f.Truncate(end)
}

func (o *OptOuts) publish(ctx context.Context, x OptOut) error {
	b, err := json.Marshal(x)
	if err != nil {
		return err
	}
	m := nats.NewMsg(optOutSubject(x.Key))
	m.Data = b
	if _, err := bus.Publish(ctx, o.nc, m); err != nil {
		return fmt.Errorf("store an opt-out: %w", err)
	}
	return nil
}

// Set stores that a number is out, or welcome again. It is written before the
// caller's record is touched, so that a submission that has not begun by then
// cannot begin. When it returns nil, no text will be handed to a provider any
// more; one that was handed over before cannot be called back.
func (o *OptOuts) Set(ctx context.Context, number string, out bool, source string) error {
	return o.set(ctx, o.key.Caller(number), out, source, time.Now().UTC())
}

func (o *OptOuts) set(ctx context.Context, key string, out bool, source string, at time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	x := OptOut{Key: key, Out: out, At: at, Source: source}
	if err := o.save(x); err != nil {
		return err
	}
	if err := o.publish(ctx, x); err != nil {
		return err
	}
	for {
		var c Caller
		seq, err := read(ctx, o.nc, Stream, callerSubject(key), &c)
		if err != nil {
			return err
		}
		c.StopAt = at
		m, err := record(callerSubject(key), &c, seq, callerTTL)
		if err != nil {
			return err
		}
		if _, err = bus.Publish(ctx, o.nc, m); err == nil {
			return nil
		} else if !errors.Is(err, bus.ErrWrongSequence) {
			return err
		}
	}
}

// Out reports whether a number's caller has said stop.
func (o *OptOuts) Out(ctx context.Context, number string) (bool, error) {
	return o.out(ctx, o.key.Caller(number))
}

func (o *OptOuts) out(ctx context.Context, key string) (bool, error) {
	var x OptOut
	_, err := read(ctx, o.nc, OptOutStream, optOutSubject(key), &x)
	return x.Out, err
}

// Count tells how many have said stop.
func (o *OptOuts) Count(ctx context.Context) (int, error) {
	msgs, err := allOf(ctx, o.nc, OptOutStream, optOutPrefix+"*")
	n := 0
	for _, b := range msgs {
		var x OptOut
		if err := json.Unmarshal(b, &x); err != nil {
			return 0, err
		}
		if x.Out {
			n++
		}
	}
	return n, err
}
