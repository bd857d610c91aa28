package httpapi

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"textback/sms"
)

// Long texts that a provider delivers in pieces are put together here. A piece
// is acknowledged once the whole is on disk, never before: until then its
// request waits a little and is answered 503, so that the provider keeps what we
// have not stored, and a restart loses nothing. What stays alone for PartsPatience
// is stored as it is: half a STOP is better than none.

const (
	maxSets  = 200
	maxParts = 50
	maxPart  = 4096 // bytes; the network's have 140
	// partWait is how long the request of one part waits for the others.
	partWait = 3 * time.Second
	// setLife is how long a set is remembered, so that a part that comes again finds it stored.
	setLife = time.Hour
)

var (
	errNotWhole = errors.New("the other parts are not here yet")
	errSetsFull = errors.New("too many unfinished texts")
)

// set is the long text that a reference stands for now. References are small numbers
// that come round: another part of the same place is of another text.
type set struct {
	begun  time.Time
	total  int
	parts  map[int]sms.Inbound
	stored bool            // what there was; a missing part may still come
	taken  map[string]bool // digests of parts that the Inbox has, of texts before this one too
	change chan struct{}   // closed when the set is stored
}

// digest tells one part from another of the same reference and place.
func digest(n, total int, m sms.Inbound) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%d %d %q %q", n, total, m.ID, m.Body))
	return string(h[:12])
}

func (h *handler) part(r *http.Request, m sms.Inbound, i item) error {
	t, spec := h.t, h.t.spec.Inbound.Parts
	n, err1 := strconv.Atoi(i.get(spec.Number))
	total, err2 := strconv.Atoi(i.get(spec.Total))
	if err1 != nil || err2 != nil || total < 1 || total > maxParts || n < 1 || n > total {
		return errUnreadable("the event does not say which part of how many this is")
	}
	ref := i.id(spec.Ref)
	if len(m.Body) > maxPart {
		return errUnreadable("this is too long for a part of a text")
	}
	if ref == "" {
		return errUnreadable("the event does not say which text this is a part of")
	}
	key, d := m.From+"\x00"+m.To+"\x00"+ref, digest(n, total, m)
	now := t.opt.Now()

	t.mu.Lock()
	for k, s := range t.sets {
		if now.Sub(s.begun) > setLife {
			delete(t.sets, k)
		}
	}
	s := t.sets[key]
	if s == nil {
		if len(t.sets) >= maxSets {
			t.mu.Unlock()
			return errSetsFull
		}
		s = newSet(now, total)
		t.sets[key] = s
	}
	if s.taken[d] {
		t.mu.Unlock()
		return nil
	}
	old, had := s.parts[n]
	switch other := s.total != total || had && digest(n, total, old) != d; {
	case other && !s.stored:
		// What there is of the old text will not be whole any more.
		if err := h.give(r, s); err != nil {
			return err
		}
		return h.part(r, m, i)
	case other:
		taken := s.taken
		s = newSet(now, total)
		if len(taken) < maxSets*maxParts {
			s.taken = taken
		}
		t.sets[key] = s
	case s.stored:
		t.mu.Unlock()
		// Too late for the others.
		if err := h.in.Received(r.Context(), m); err != nil {
			return err
		}
		t.mu.Lock()
		s.parts[n], s.taken[d] = m, true
		t.mu.Unlock()
		return nil
	}
	s.parts[n] = m
	if len(s.parts) >= s.total || now.Sub(s.begun) >= t.opt.PartsPatience {
		return h.give(r, s)
	}
	change := s.change
	t.mu.Unlock()

	wait := time.NewTimer(partWait)
	defer wait.Stop()
	select {
	case <-change:
		t.mu.Lock()
		defer t.mu.Unlock()
		if s.taken[d] {
			return nil
		}
	case <-wait.C:
	case <-r.Context().Done():
	}
	return errNotWhole
}

func newSet(now time.Time, total int) *set {
	return &set{begun: now, total: total, parts: map[int]sms.Inbound{}, taken: map[string]bool{}, change: make(chan struct{})}
}

// give hands what there is of s to the Inbox. t.mu must be held, and is not afterwards.
func (h *handler) give(r *http.Request, s *set) error {
	t, whole, given := h.t, s.join(), maps.Clone(s.parts)
	t.mu.Unlock()
	// The Inbox may be given the same text twice, when two parts come at once.
	if err := h.in.Received(r.Context(), whole); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for n, m := range given {
		s.taken[digest(n, s.total, m)] = true
	}
	if !s.stored {
		s.stored = true
		s.parts = given // what came meanwhile comes again, by itself
		close(s.change)
	}
	return nil
}

// join makes one text of what there is, under the id of its first part.
func (s *set) join() sms.Inbound {
	var out sms.Inbound
	var body strings.Builder
	for n := 1; n <= s.total; n++ {
		p, ok := s.parts[n]
		if !ok {
			continue
		}
		if out.From == "" {
			out = p
		}
		if out.Keyword == "" {
			out.Keyword = p.Keyword
		}
		body.WriteString(p.Body)
	}
	out.Body = body.String()
	return out
}

// multipartOf reads the fields of a multipart form.
func multipartOf(boundary string, body []byte) (url.Values, error) {
	out := url.Values{}
	for r := multipart.NewReader(bytes.NewReader(body), boundary); len(out) < 200; {
		p, err := r.NextPart()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, errUnreadable("the form cannot be read")
		}
		if p.FileName() != "" {
			continue
		}
		b, err := io.ReadAll(p)
		if err != nil {
			return nil, errUnreadable("the form cannot be read")
		}
		out.Add(p.FormName(), string(b))
	}
	return nil, errUnreadable("the form has too many fields")
}
