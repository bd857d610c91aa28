package directory

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"textback/rules"
)

// refusals remember for whom the lookup last forbade texts, on disk, so that a
// dead CRM and a restart of ours together do not forget it. One JSON object a
// line, the last one of a caller holds; numbers stand there hidden.
type refusals struct {
	path string
	hide func(string) string

	mu  sync.Mutex
	f   *os.File
	bad bool               // the file lacks something: a write has failed
	all map[string]refusal // by what hide makes of the number
}

type refusal struct {
	Caller    string `json:"caller"`
	DoNotText bool   `json:"do_not_text,omitempty"`
	Blocked   bool   `json:"blocked,omitempty"`
}

func (r refusal) forbids() bool { return r.DoNotText || r.Blocked }

func openRefusals(path string, hide func(string) string) (*refusals, error) {
	if hide == nil {
		hide = func(s string) string { return s }
		if path != "" {
			return nil, errors.New("numbers must be hidden in a file")
		}
	}
	r := &refusals{path: path, hide: hide, all: map[string]refusal{}}
	if path == "" {
		return r, nil
	}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	lines := 0
	sc := bufio.NewScanner(bytes.NewReader(b))
	for sc.Scan() {
		var one refusal
		if json.Unmarshal(sc.Bytes(), &one) != nil || one.Caller == "" {
			continue // a line that was cut off by a crash
		}
		lines++
		if one.forbids() {
			r.all[one.Caller] = one
		} else {
			delete(r.all, one.Caller)
		}
	}
	whole := len(b) == 0 || b[len(b)-1] == '\n'
	if lines > 2*len(r.all)+100 || !whole {
		if err := r.rewrite(); err != nil {
			return nil, err
		}
	}
	r.f, err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return r, err
}

// rewrite leaves out what no longer holds.
func (r *refusals) rewrite() error {
	var b bytes.Buffer
	for _, one := range r.all {
		line, err := json.Marshal(one)
		if err != nil {
			return err
		}
		b.Write(append(line, '\n'))
	}
	f, err := os.CreateTemp(filepath.Dir(r.path), ".refusals-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b.Bytes())
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), r.path)
}

// of tells what the last good answer forbade.
func (r *refusals) of(e164 string) (doNotText, blocked bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.all[r.hide(e164)]
	return one.DoNotText, one.Blocked
}

// set keeps what an answer forbids. It writes only when that has changed.
func (r *refusals) set(e164 string, c *rules.Contact) error {
	one := refusal{Caller: r.hide(e164)}
	if c != nil {
		one.DoNotText, one.Blocked = c.DoNotText, c.Blocked
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	same := r.all[one.Caller] == one || !one.forbids() && !r.all[one.Caller].forbids()
	if same && !r.bad {
		return nil
	}
	if one.forbids() {
		r.all[one.Caller] = one
	} else {
		delete(r.all, one.Caller)
	}
	if r.f == nil {
		return nil
	}
	err := r.put(one)
	r.bad = err != nil
	return err
}

// put writes one more line; the whole file when it lacks something.
func (r *refusals) put(one refusal) error {
	if r.bad {
		if err := r.rewrite(); err != nil {
			return err
		}
		f, err := os.OpenFile(r.path, os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		_ = r.f.Close()
		r.f = f
		return nil
	}
	line, err := json.Marshal(one)
	if err != nil {
		return err
	}
	if _, err := r.f.Write(append(line, '\n')); err != nil {
		return err
	}
	return r.f.Sync()
}

func (r *refusals) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.f != nil {
		_ = r.f.Close()
		r.f = nil
	}
}
