package smpp

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"textback/rules/gsm7"
	"textback/sms"
)

// A long reply comes in parts, each a deliver_sm of its own, in any order and with
// minutes between them. Many SMSCs send the next one only when the last was
// answered, so a part is answered before the text is whole; and what was answered
// is ours to keep. Hence each part is a file, synced before its answer:
//
//	<text>-<seq>.part   a part, as JSON
//	<text>.done         the digests of the parts of a text that the Inbox has taken
//
// The last part is not written: it is answered once the Inbox has the whole
// text, and offered again otherwise. A kill between the two has the SMSC offer it
// again, and either it completes the text once more, which the Inbox
// knows, or .done says that it was taken. Both go away after a while.

// keepDone is how long a part of a text that was taken may come again.
const keepDone = time.Hour

// maxPieces bounds the directory: beyond it parts are not taken, and stay with the SMSC.
const maxPieces = 20_000

// piece is one part.
type piece struct {
	From   string    `json:"from"`
	To     string    `json:"to"`
	Part   gsm7.Part `json:"part"`
	Coding byte      `json:"coding"`
	Octets []byte    `json:"octets"` // without header
	At     time.Time `json:"at"`     // when it came
}

// key names the text that a piece belongs to.
func (p piece) key() string {
	h := sha256.Sum256(fmt.Appendf(nil, "%q %q %d %d %v", p.From, p.To, p.Part.Ref, p.Part.Total, p.Part.Wide))
	return hex.EncodeToString(h[:12])
}

// same reports whether q is p again.
func (p piece) same(q piece) bool { return p.Coding == q.Coding && bytes.Equal(p.Octets, q.Octets) }

func (p piece) digest() string {
	h := sha256.Sum256(fmt.Appendf(nil, "%d %d %q", p.Part.Seq, p.Coding, p.Octets))
	return hex.EncodeToString(h[:12])
}

// taken is a text that the Inbox has.
type taken struct {
	Digests []string  `json:"digests"`
	At      time.Time `json:"at"`
}

func (t taken) has(p piece) bool {
	for _, d := range t.Digests {
		if d == p.digest() {
			return true
		}
	}
	return false
}

type parts struct {
	dir string
	now func() time.Time

	mu    sync.Mutex
	texts map[string]map[byte]piece
	done  map[string]taken
	n     int // pieces
}

// openParts reads what is in dir. Run makes the directory: an admin who runs 'textback check'
// as root must not, or the daemon could not write into it.
func openParts(dir string, now func() time.Time) (*parts, error) {
	p := &parts{dir: dir, now: now, texts: map[string]map[byte]piece{}, done: map[string]taken{}}
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("smpp: the directory for parts of long replies: %w", err)
	}
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		switch filepath.Ext(f.Name()) {
		case ".part":
			var s piece
			if readJSON(path, &s) != nil || s.Part.Seq == 0 || s.Part.Seq > s.Part.Total {
				continue // not ours, or a disk's fault: left for a person
			}
			p.put(s)
		case ".done":
			var t taken
			if readJSON(path, &t) == nil {
				p.done[strings.TrimSuffix(f.Name(), ".done")] = t
			}
		case ".tmp": // of a write that was killed
			_ = os.Remove(path)
		}
	}
	return p, nil
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, v)
}

func (p *parts) put(s piece) {
	k := s.key()
	if p.texts[k] == nil {
		p.texts[k] = map[byte]piece{}
	}
	if _, ok := p.texts[k][s.Part.Seq]; !ok {
		p.n++
	}
	p.texts[k][s.Part.Seq] = s
}

var errFull = errors.New("too many parts of long replies wait for others")

// take keeps s, or gives the whole text if s completes it. With an error s was not kept.
func (p *parts) take(s piece, give func(sms.Inbound) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgetDone()
	k := s.key()
	s.At = p.now()
	if p.done[k].has(s) {
		return nil
	}
	if old, ok := p.texts[k][s.Part.Seq]; ok {
		if old.same(s) {
			return nil
		}
		// The sender has come round to the same reference: the old text will not be whole any more.
		if err := give(join(p.texts[k])); err != nil {
			return err
		}
		p.remove(k, nil)
	}
	if len(p.texts[k])+1 < int(s.Part.Total) {
		if p.n >= maxPieces {
			return errFull
		}
		if err := p.write(p.path(k, s.Part.Seq), s); err != nil {
			return err
		}
		p.put(s)
		return nil
	}
	whole := map[byte]piece{s.Part.Seq: s}
	for seq, q := range p.texts[k] {
		whole[seq] = q
	}
	if err := give(join(whole)); err != nil {
		return err
	}
	t := taken{At: p.now()}
	for _, q := range whole {
		t.Digests = append(t.Digests, q.digest())
	}
	p.remove(k, &t)
	return nil
}

// overdue gives texts whose last part came longer ago than patience, with … for what is
// missing.
func (p *parts) overdue(patience time.Duration, give func(sms.Inbound) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgetDone()
	for k, text := range p.texts {
		last := time.Time{}
		t := taken{At: p.now()}
		for _, s := range text {
			t.Digests = append(t.Digests, s.digest())
			if s.At.After(last) {
				last = s.At
			}
		}
		if p.now().Sub(last) < patience {
			continue
		}
		if give(join(text)) == nil {
			p.remove(k, &t)
		}
	}
}

// remove forgets a text that the Inbox has. A file that stays is given again after the
// next start, which the Inbox knows.
func (p *parts) remove(k string, t *taken) {
	if t != nil {
		p.done[k] = *t
		_ = p.write(filepath.Join(p.dir, k+".done"), t)
	}
	for seq := range p.texts[k] {
		_ = os.Remove(p.path(k, seq))
		p.n--
	}
	delete(p.texts, k)
}

func (p *parts) forgetDone() {
	for k, t := range p.done {
		if p.now().Sub(t.At) > keepDone {
			_ = os.Remove(filepath.Join(p.dir, k+".done"))
			delete(p.done, k)
		}
	}
}

func (p *parts) path(key string, seq byte) string {
	return filepath.Join(p.dir, fmt.Sprintf("%s-%03d.part", key, seq))
}

// write puts v into a file that is there as a whole after a power cut, or not at all.
func (p *parts) write(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return err
	}
	d, err := os.Open(p.dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// join makes one text of parts, with … for each run of missing ones. Octets are joined before they
// are read: careless senders cut escapes and surrogate pairs.
func join(text map[byte]piece) sms.Inbound {
	var out sms.Inbound
	var run piece // parts in a row with one coding
	flush := func() {
		if len(run.Octets) > 0 {
			m := run.inbound("")
			out.Body += m.Body
			out.Media += m.Media
			run.Octets = nil
		}
	}
	var total byte
	for _, s := range text {
		out.From, out.To, total = s.From, s.To, s.Part.Total
	}
	missing := false
	for seq := 1; seq <= int(total); seq++ {
		s, ok := text[byte(seq)]
		if !ok {
			if flush(); !missing {
				out.Body += "…"
			}
			missing = true
			continue
		}
		missing = false
		if s.Coding != run.Coding {
			flush()
		}
		run.Coding = s.Coding
		run.Octets = append(run.Octets, s.Octets...)
	}
	flush()
	return out
}
