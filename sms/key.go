package sms

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"textback/pbx/bus"
)

// Key is the site's secret that turns numbers into caller keys, so that no
// number stands in a subject. With another key nobody's opt-out is found.
type Key []byte

func keyFile(dir string) string { return filepath.Join(dir, "caller.key") }

// LoadKey reads the key in dir. It makes none: see OpenKey.
func LoadKey(dir string) (Key, error) {
	path := keyFile(dir)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("the key of callers %s is not there: 'textback serve' makes it where it first sends texts; run this on that host, or copy the file from there: %w", path, os.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("read the key of callers: %w", err)
	}
	k, err := hex.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(k) < 16 {
		return nil, fmt.Errorf("the key of callers %s is damaged: restore it from a backup; without it nobody's opt-out is known", path)
	}
	return k, nil
}

// OpenKey is LoadKey for who sends: it makes a key the first time, and never where
// opt-outs are stored that only a lost key leads to. Several senders on one NATS
// server must share the file; alone says that there is no other.
func OpenKey(ctx context.Context, nc *nats.Conn, dir string, alone bool) (Key, error) {
	stored, err := optOutsStored(ctx, nc)
	if err != nil {
		return nil, err
	}
	k, err := LoadKey(dir)
	made := errors.Is(err, os.ErrNotExist)
	switch {
	case made:
		if copied, err := os.Stat(filepath.Join(dir, optOutsFile)); stored || err == nil && copied.Size() > 0 {
			return nil, fmt.Errorf("the key of callers %s is lost, and there are opt-outs that only it leads to: restore it from a backup, or copy it from another sender of this NATS server; with a new one everybody who has said stop would be texted again", keyFile(dir))
		}
		k, err = makeKey(dir)
	}
	if err != nil {
		return nil, err
	}
	err = k.claim(ctx, nc, alone && !stored)
	if errors.Is(err, errOtherKey) && made {
		// Another sender was first: its key is the one to have.
		err = errors.Join(err, os.Remove(keyFile(dir)))
	}
	if err != nil {
		return nil, err
	}
	return k, nil
}

func makeKey(dir string) (Key, error) {
	var k [32]byte
	if _, err := rand.Read(k[:]); err != nil {
		return nil, err
	}
	path := keyFile(dir)
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the key of callers: %w", err)
	}
	_, err = f.WriteString(hex.EncodeToString(k[:]) + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err == nil {
		var d *os.File
		if d, err = os.Open(dir); err == nil {
			err = errors.Join(d.Sync(), d.Close())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("make the key of callers: %w", err)
	}
	return k[:], nil
}

// optOutsStored reports whether the stream holds any opt-out.
func optOutsStored(ctx context.Context, nc *nats.Conn) (bool, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return false, err
	}
	st, err := js.Stream(ctx, OptOutStream)
	if err != nil {
		return false, fmt.Errorf("read opt-outs: %w", err)
	}
	return st.CachedInfo().State.Msgs > 0, nil
}

// keyMark tells by which key the records on a NATS server are named, without telling
// the key. It is kept as long as the stream is.
type keyMark struct {
	Mark string `json:"mark"`
}

const keySubject = prefix + "key"

var errOtherKey = errors.New("the records on this NATS server were made with another key of callers than caller.key here, so nobody's opt-out would be found: " +
	"copy caller.key from the host of the other sender, or restore it from a backup (where neither exists and nobody has opted out, purge subject " + keySubject + " of stream " + Stream + ")")

func (k Key) mark() keyMark { return keyMark{k.hash("mark")} }

// Fits tells whether k is the key by which the records on the server are named.
func (k Key) Fits(ctx context.Context, nc *nats.Conn) error {
	var have keyMark
	seq, err := read(ctx, nc, Stream, keySubject, &have)
	if err != nil {
		return err
	}
	if seq > 0 && have != k.mark() {
		return errOtherKey
	}
	return nil
}

// claim is Fits, and leaves the key's mark where there is none; with instead also
// where there is another's.
func (k Key) claim(ctx context.Context, nc *nats.Conn, instead bool) error {
	for {
		var have keyMark
		seq, err := read(ctx, nc, Stream, keySubject, &have)
		switch {
		case err != nil:
			return err
		case have == k.mark():
			return nil
		case seq > 0 && !instead:
			return errOtherKey
		}
		m := nats.NewMsg(keySubject) // without a TTL: it stays
		if m.Data, err = json.Marshal(k.mark()); err != nil {
			return err
		}
		m.Header.Set(bus.HdrExpectSeq, fmt.Sprint(seq))
		if _, err := bus.Publish(ctx, nc, m); !errors.Is(err, bus.ErrWrongSequence) {
			return err
		}
	}
}
