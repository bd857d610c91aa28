package spool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"textback/sms"
)

// maxFile bounds what is read: the longest text has 255 parts.
const maxFile = 256 << 10

// Run looks at the directories until ctx ends.
func (t *Transport) Run(ctx context.Context, in sms.Inbox) error {
	tick := time.NewTicker(t.opt.Poll)
	defer tick.Stop()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.ledger != nil {
			_ = t.ledger.close()
			t.ledger = nil
		}
	}()
	for {
		if t.open() {
			t.look(ctx, in)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// open opens the state file if it is not open yet.
func (t *Transport) open() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ledger != nil {
		return true
	}
	l, err := openLedger(t.opt.StateFile)
	if err != nil {
		if !t.said["state"] {
			t.said["state"] = true
			t.opt.Log.Error("no text can be sent: the spool's state file cannot be opened", "error", err)
		}
		return false
	}
	t.ledger = l
	return true
}

// look goes through all directories once. What cannot be read is told of once,
// and looked at again the next time.
func (t *Transport) look(ctx context.Context, in sms.Inbox) {
	for _, d := range []struct {
		name, path string
		do         func(context.Context, sms.Inbox, []fs.DirEntry)
	}{
		{"outgoing", t.opt.Outgoing, t.takeBack},
		{"checked", t.opt.Checked, t.takeBackChecked},
		{"sent", t.opt.Sent, t.sent},
		{"failed", t.opt.Failed, t.failed},
		{"incoming", t.opt.Incoming, t.incoming(t.opt.Incoming)},
		{"reports", t.opt.Reports, t.incoming(t.opt.Reports)},
	} {
		if d.path == "" || ctx.Err() != nil {
			continue
		}
		entries, err := os.ReadDir(d.path)
		if err != nil {
			t.once(d.name, fmt.Sprintf("the spool's %s directory cannot be read", d.name), plain(err))
			continue
		}
		t.healed(d.name)
		d.do(ctx, in, entries)
	}
}

// once logs a problem the first time.
func (t *Transport) once(key, text string, err error) {
	t.mu.Lock()
	said := t.said[key]
	t.said[key] = true
	t.mu.Unlock()
	if !said {
		t.opt.Log.Warn(text, "error", err)
	}
}

func (t *Transport) healed(key string) {
	t.mu.Lock()
	delete(t.said, key)
	t.mu.Unlock()
}

var (
	ourSmstools = regexp.MustCompile(`^textback-([A-Za-z0-9-]{1,64})$`)
	ourGammu    = regexp.MustCompile(`^OUT[A-Z]\d{8}_\d{6}_\d+_\+\d+_([A-Za-z0-9-]{1,64})\.smsbackup$`)
	ourAside    = regexp.MustCompile(`^\.textback-([A-Za-z0-9-]{1,64})$`)
)

// idOf tells of which text a file's name is; empty for other files.
func (t *Transport) idOf(name string) string {
	re := ourSmstools
	if t.opt.Kind == Gammu {
		re = ourGammu
	}
	if m := re.FindStringSubmatch(name); m != nil {
		return m[1]
	}
	return ""
}

// takeBack removes texts that the daemon did not take in time: they would be sent
// when it comes back, hours late. Whoever renames a file first has it.
func (t *Transport) takeBack(ctx context.Context, in sms.Inbox, entries []fs.DirEntry) {
	for _, e := range entries {
		id := t.idOf(e.Name())
		isAside := false
		if m := ourAside.FindStringSubmatch(e.Name()); m != nil {
			id, isAside = m[1], true
		}
		if id == "" {
			continue
		}
		info, err := e.Info()
		if err != nil || time.Since(changed(info)) < t.opt.Expire {
			continue
		}
		path := filepath.Join(t.opt.Outgoing, e.Name())
		t.mu.Lock()
		have, known := t.ledger.get(id)
		done := known && have.State != placed
		gone := path
		if !done && !isAside {
			gone = filepath.Join(t.opt.Outgoing, aside(id))
			err = os.Rename(path, gone)
		}
		if err == nil && known && !done {
			have.State, have.At = withdrawn, time.Now().UTC()
			err = t.ledger.put(have)
		}
		t.mu.Unlock()
		if err != nil || done && !isAside {
			continue
		}
		if known && t.tellTakenBack(ctx, in, id) != nil {
			continue // the file aside has it told again
		}
		_ = os.Remove(gone)
	}
}

func (t *Transport) tellTakenBack(ctx context.Context, in sms.Inbox, id string) error {
	t.opt.Log.Warn("the daemon of the spool did not send a text in time; it was taken back and is not sent", "job", id)
	return in.Receipt(ctx, sms.DeliveryReceipt{ProviderID: id, MessageID: id, Delivery: sms.Undelivered, Class: sms.Transient, Code: "not_taken", At: time.Now()})
}

// takeBackChecked does the same where smsd keeps texts for a modem that does not
// answer. smsd sends a file only when it could make the file's lock: so do we.
func (t *Transport) takeBackChecked(ctx context.Context, in sms.Inbox, entries []fs.DirEntry) {
	for _, e := range entries {
		id := t.idOf(e.Name())
		info, err := e.Info()
		if id == "" || err != nil || time.Since(changed(info)) < t.opt.Expire {
			continue
		}
		path := filepath.Join(t.opt.Checked, e.Name())
		lock, err := os.OpenFile(path+".LOCK", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o660)
		if err != nil {
			continue // being sent right now
		}
		lock.Close()
		if _, err := os.Lstat(path); err == nil {
			t.mu.Lock()
			have, known := t.ledger.get(id)
			if known && have.State == placed {
				have.State, have.At = withdrawn, time.Now().UTC()
				err = t.ledger.put(have)
			}
			t.mu.Unlock()
			if known && err == nil && t.tellTakenBack(ctx, in, id) == nil {
				_ = os.Remove(path)
			}
		}
		_ = os.Remove(path + ".LOCK")
	}
}

// changed is when a file came under its name: renaming sets the inode's time.
func changed(info fs.FileInfo) time.Time {
	at := info.ModTime()
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		if c := time.Unix(st.Ctim.Sec, st.Ctim.Nsec); c.After(at) {
			at = c
		}
	}
	return at
}

// settled notes what became of our texts in a directory, once each.
func (t *Transport) settled(ctx context.Context, in sms.Inbox, dir, state string, entries []fs.DirEntry, receipt func(h map[string]string) sms.DeliveryReceipt) {
	seen := map[string]bool{}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		seen[path] = true
		if _, done := t.looked[path]; done {
			continue
		}
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || time.Since(changed(info)) < t.opt.Settle {
			continue
		}
		var h map[string]string
		if t.opt.Kind == Smstools {
			b, err := readFile(path)
			if err != nil {
				t.once(path, "a file of the spool cannot be read", plain(err))
				continue
			}
			h, _ = header(b)
		}
		id := t.idOf(e.Name())
		if id == "" {
			id = h[strings.TrimSuffix(idHeader, ":")]
		}
		t.mu.Lock()
		have, known := t.ledger.get(id)
		t.mu.Unlock()
		if !known || have.State == state {
			t.looked[path] = id
			continue
		}
		r := receipt(h)
		r.ProviderID, r.MessageID, r.At = id, id, changed(info)
		if in.Receipt(ctx, r) != nil {
			continue
		}
		have.State, have.At, have.Ref = state, time.Now().UTC(), h["Message_id"]
		t.mu.Lock()
		err = t.ledger.put(have)
		t.mu.Unlock()
		if err != nil {
			t.once("state", "the spool's state file cannot be written", plain(err))
			continue
		}
		t.looked[path] = id
	}
	for path := range t.looked {
		if filepath.Dir(path) == filepath.Clean(dir) && !seen[path] {
			delete(t.looked, path)
		}
	}
}

func (t *Transport) sent(ctx context.Context, in sms.Inbox, entries []fs.DirEntry) {
	t.settled(ctx, in, t.opt.Sent, sent, entries, func(map[string]string) sms.DeliveryReceipt {
		return sms.DeliveryReceipt{Delivery: sms.EnRoute, Code: "sent"}
	})
}

func (t *Transport) failed(ctx context.Context, in sms.Inbox, entries []fs.DirEntry) {
	t.settled(ctx, in, t.opt.Failed, failed, entries, func(h map[string]string) sms.DeliveryReceipt {
		class, code := failure(h)
		if code == "" {
			code = "failed"
		}
		return sms.DeliveryReceipt{Delivery: sms.Undelivered, Class: class, Code: code}
	})
}

// incoming reads texts and reports, and removes each once the Inbox has it.
func (t *Transport) incoming(dir string) func(context.Context, sms.Inbox, []fs.DirEntry) {
	return func(ctx context.Context, in sms.Inbox, entries []fs.DirEntry) {
		texts := map[string][]string{} // names of files by text
		var order []string
		young := map[string]bool{}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || !info.Mode().IsRegular() || strings.HasPrefix(e.Name(), ".") || strings.HasSuffix(e.Name(), ".LOCK") {
				continue
			}
			key := e.Name()
			if t.opt.Kind == Gammu {
				m := ofGammu.FindStringSubmatch(key)
				if m == nil {
					continue
				}
				key = m[1]
			}
			if texts[key] == nil {
				order = append(order, key)
			}
			texts[key] = append(texts[key], e.Name())
			// Both daemons write into the file under its name: it counts as whole once it
			// has been left alone for a while.
			path := filepath.Join(dir, e.Name())
			if size, seen := t.sizes[path]; !seen || size != info.Size() || time.Since(changed(info)) < t.opt.Settle || info.Size() == 0 && t.opt.Kind == Smstools {
				young[key] = true
			}
			t.sizes[path] = info.Size()
		}
		for _, key := range order {
			if ctx.Err() != nil {
				return
			}
			if !young[key] {
				slices.Sort(texts[key])
				t.take(ctx, in, dir, texts[key])
			}
		}
	}
}

// take hands the files of one text to the Inbox and removes them.
func (t *Transport) take(ctx context.Context, in sms.Inbox, dir string, names []string) {
	var files [][]byte
	sum := sha256.New()
	for _, name := range names {
		b, err := readFile(filepath.Join(dir, name))
		if err != nil {
			t.once(names[0], "a received text cannot be read", plain(err))
			return
		}
		files = append(files, b)
		fmt.Fprintf(sum, "%s\x00%d\x00", name, len(b))
		sum.Write(b)
	}
	var got received
	var err error
	if t.opt.Kind == Gammu {
		got, err = readGammu(names[0], files, &t.opt)
	} else {
		got, err = readSmstools(files[0], &t.opt)
	}
	if err != nil {
		// It stays where it is: somebody may want to look at it.
		t.once(filepath.Join(dir, names[0]), "a received text is left where it is", err)
		return
	}
	switch {
	case got.inbound != nil:
		// Offered again after a crash it is the same file, so the same id.
		got.inbound.ID = hex.EncodeToString(sum.Sum(nil)[:10])
		err = in.Received(ctx, *got.inbound)
	case got.report != nil:
		err = t.report(ctx, in, got.report)
	}
	if err != nil {
		return // again at the next look
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.once("remove", "a received text cannot be removed: it is read again and again, so this user needs the right to write in the incoming directory", plain(err))
		}
		delete(t.sizes, path)
	}
}

// report passes on the network's word on one of our texts.
func (t *Transport) report(ctx context.Context, in sms.Inbox, r *statusReport) error {
	delivery, class, code, ok := r.delivery()
	t.mu.Lock()
	e, known := t.ledger.byRef(r.ref, r.from)
	t.mu.Unlock()
	if !ok || !known {
		return nil // another program's text
	}
	return in.Receipt(ctx, sms.DeliveryReceipt{ProviderID: e.ID, MessageID: e.ID, Delivery: delivery, Class: class, Code: code, At: r.at})
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = errors.New("it is too large for a text")
	}
	return b, err
}
