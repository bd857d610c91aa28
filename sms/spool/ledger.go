package spool

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// What is noted of a text.
const (
	placed    = "placed"    // about to be handed over, or handed over: see Submit
	sent      = "sent"      // the daemon has sent it
	failed    = "failed"    // the daemon has given it up
	withdrawn = "withdrawn" // taken back
)

// An entry is the last that is known of a text. One JSON object a line.
type entry struct {
	ID    string    `json:"id"`
	State string    `json:"state"`
	At    time.Time `json:"at"`
	To    string    `json:"to,omitempty"`  // blind: delivery reports come by number and reference
	Ref   string    `json:"ref,omitempty"` // the modem's reference
}

// blind makes of a number what can be compared with it and not read back easily.
func blind(id, to string) string {
	sum := sha256.Sum256([]byte(id + "\x00" + to))
	return hex.EncodeToString(sum[:8])
}

// A ledger knows which texts were handed over.
type ledger struct {
	f    *os.File
	lock *os.File
	cut  bool // the last line may be cut off
	all  map[string]entry
}

// keep is how long a text is known: the outbox asks again for minutes, reports
// come within days.
const keep = 60 * 24 * time.Hour

func openLedger(path string) (*ledger, error) {
	l := &ledger{all: map[string]entry{}}
	// Two processes would each know half of what was handed over.
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("spool's state file: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, errors.New("spool's state file: another process has it open")
	}
	defer func() {
		if l.lock == nil {
			lock.Close()
		}
	}()
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("spool's state file: %w", err)
	}
	lines := 0
	sc := bufio.NewScanner(bytes.NewReader(b))
	for sc.Scan() {
		var e entry
		if json.Unmarshal(sc.Bytes(), &e) == nil && e.ID != "" {
			lines++
			l.all[e.ID] = e
		}
	}
	l.cut = len(b) > 0 && b[len(b)-1] != '\n'
	for id, e := range l.all {
		if time.Since(e.At) > keep {
			delete(l.all, id)
		}
	}
	if lines > 3*len(l.all)+1000 {
		var out bytes.Buffer
		for _, e := range l.all {
			line, err := json.Marshal(e)
			if err != nil {
				return nil, err
			}
			out.Write(append(line, '\n'))
		}
		if err := errors.Join(writeSynced(path+".new", out.Bytes()), os.Rename(path+".new", path)); err != nil {
			return nil, fmt.Errorf("spool's state file: %w", err)
		}
		l.cut = false
	}
	if l.f, err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		return nil, fmt.Errorf("spool's state file: %w", err)
	}
	l.lock = lock
	return l, nil
}

func (l *ledger) get(id string) (entry, bool) {
	e, ok := l.all[id]
	return e, ok
}

func (l *ledger) put(e entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if line = append(line, '\n'); l.cut {
		line = append([]byte{'\n'}, line...)
	}
	if _, err = l.f.Write(line); err == nil {
		err = l.f.Sync()
	}
	if l.cut = err != nil; err == nil {
		l.all[e.ID] = e
	}
	return err
}

// byRef finds the newest text to a number that has the reference.
func (l *ledger) byRef(ref, to string) (found entry, ok bool) {
	for id, e := range l.all {
		if e.Ref == ref && e.To == blind(id, to) && (!ok || e.At.After(found.At)) {
			found, ok = e, true
		}
	}
	return found, ok
}

func (l *ledger) close() error { return errors.Join(l.f.Close(), l.lock.Close()) }
