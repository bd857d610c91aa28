// Package file is in charge of the two ways out that reach no phone: Transport
// appends every text to a file, Log writes it to the daemon's log. They are what
// an office runs with before it has an account with a provider.
package file

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"textback/sms"
)

// A Text is one line of the file.
type Text struct {
	ID   string    `json:"id"`
	Time time.Time `json:"time"`
	From string    `json:"from"`
	To   string    `json:"to"`
	Body string    `json:"body"`
}

// Transport appends texts to a file, one JSON object a line, each synced to
// disk before Submit returns. A Message.ID is written once, however often it
// comes and whatever happens in between. It is safe for concurrent use; one
// process at a time may have the file open.
type Transport struct {
	path string
	now  func() time.Time

	mu     sync.Mutex
	f      *os.File // nil after a failure that left the file's end in doubt: opened again by the next Submit
	size   int64    // where the next line goes
	known  map[string]bool
	closed bool
}

// Open opens or creates the file at path and reads which texts it holds. The
// file holds numbers and words, so it is made readable by its owner only.
func Open(path string) (*Transport, error) {
	t := &Transport{path: path, now: time.Now}
	if err := t.open(); err != nil {
		return nil, err
	}
	return t, nil
}

// open opens the file, locks it and reads it from the start.
func (t *Transport) open() error {
	f, err := os.OpenFile(t.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("texts file: %w", err)
	}
	if err := t.adopt(f); err != nil {
		f.Close()
		return fmt.Errorf("texts file %s: %w", t.path, err)
	}
	return nil
}

func (t *Transport) adopt(f *os.File) error {
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return errors.New("another process has it open")
		}
		return fmt.Errorf("lock: %w", err)
	}
	known := map[string]bool{}
	r := bufio.NewReader(f)
	var whole int64 // up to the end of the last line that has one
	for {
		line, err := r.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return err
		}
		// A line that an admin has spoiled counts for nothing, the others still do.
		var x Text
		ok := json.Unmarshal(line, &x) == nil && x.ID != ""
		if ok {
			known[x.ID] = true
		}
		if err == nil {
			whole += int64(len(line))
			continue
		}
		if len(line) == 0 {
			break
		}
		// The last line was torn by a crash. Nobody was told it was written, so
		// it is completed when only its end is missing, and otherwise removed.
		if ok {
			if _, err := f.WriteAt([]byte("\n"), whole+int64(len(line))); err != nil {
				return err
			}
			whole += int64(len(line)) + 1
		} else if err := f.Truncate(whole); err != nil {
			return err
		}
		break
	}
	if err := f.Sync(); err != nil {
		return err
	}
	// The name must survive a power failure as well as what is in it.
	dir, err := os.Open(filepath.Dir(t.path))
	if err != nil {
		return err
	}
	err = dir.Sync()
	dir.Close()
	if err != nil {
		return err
	}
	// Texts of a file that was moved away stay known.
	for id := range t.known {
		known[id] = true
	}
	t.f, t.size, t.known = f, whole, known
	return nil
}

// HonoursID reports true: a second Submit of the same Message.ID writes nothing.
func (t *Transport) HonoursID() bool { return true }

// Submit appends m, or finds that it has been appended before. Its errors are
// *sms.Error: Transient when the file is as it was, Ambiguous when that cannot
// be known.
func (t *Transport) Submit(_ context.Context, m sms.Message) (sms.Receipt, error) {
	if m.ID == "" {
		return sms.Receipt{}, &sms.Error{Class: sms.Rejected, Err: errors.New("texts file: a text without an id")}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return sms.Receipt{}, &sms.Error{Class: sms.Transient, Err: errors.New("texts file: closed")}
	}
	if err := t.ready(); err != nil {
		return sms.Receipt{}, &sms.Error{Class: sms.Transient, Err: err}
	}
	receipt := sms.Receipt{ProviderID: m.ID, Status: "written"}
	if t.known[m.ID] {
		return receipt, nil
	}
	line, err := encode(Text{ID: m.ID, Time: t.now().UTC().Truncate(time.Millisecond), From: m.From, To: m.To, Body: m.Body})
	if err != nil {
		return sms.Receipt{}, &sms.Error{Class: sms.Rejected, Err: errors.New("texts file: the text cannot be written as JSON")}
	}
	_, err = t.f.WriteAt(line, t.size)
	if err == nil {
		err = t.f.Sync()
	}
	if err == nil {
		t.size += int64(len(line))
		t.known[m.ID] = true
		return receipt, nil
	}
	err = fmt.Errorf("texts file: append %s: %w", m.ID, err)
	if t.f.Truncate(t.size) == nil && t.f.Sync() == nil {
		return sms.Receipt{}, &sms.Error{Class: sms.Transient, Err: err}
	}
	// What the disk holds now is known after reading it again.
	t.f.Close()
	t.f = nil
	return sms.Receipt{}, &sms.Error{Class: sms.Ambiguous, Err: err}
}

// ready opens the file again after a failure, or when its name belongs to
// another file or to none, as after logrotate.
func (t *Transport) ready() error {
	if t.f != nil {
		mine, err := t.f.Stat()
		if err != nil {
			return fmt.Errorf("texts file: %w", err)
		}
		named, err := os.Stat(t.path)
		if err == nil && os.SameFile(mine, named) {
			return nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("texts file: %w", err)
		}
		t.f.Close()
		t.f = nil
	}
	return t.open()
}

// Close closes the file. Later Submits fail.
func (t *Transport) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if t.f == nil {
		return nil
	}
	err := t.f.Close()
	t.f = nil
	return err
}

// encode returns x as one line. People read it, so & < > stay as they are.
func encode(x Text) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(x)
	return b.Bytes(), err
}
