package ari

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"textback/pbx"
)

// maxLine bounds one line of a recording.
const maxLine = 4 << 20

// Replay feeds a recording (one raw ARI event per line) to a tracker and
// flushes it at the end. A line that cannot be read is an error that names it;
// everything else is fed all the same, and the errors come back together.
// name stands before the line number in errors.
func Replay(r io.Reader, name string, t *pbx.Tracker) error {
	var (
		d    Decoder
		last time.Time
		bad  []error
	)
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 64<<10), maxLine)
	for n := 1; in.Scan(); n++ {
		line := bytes.TrimSpace(in.Bytes())
		if len(line) == 0 {
			continue
		}
		f, err := d.Decode(line)
		if err != nil {
			if len(bad) < 10 {
				bad = append(bad, fmt.Errorf("%s:%d: %w", name, n, err))
			}
			continue
		}
		if f != nil {
			t.Feed(f)
			last = f.At
		}
	}
	if err := in.Err(); err != nil {
		bad = append(bad, fmt.Errorf("%s: %w", name, err))
	}
	t.Advance(last.Add(time.Minute))
	t.Flush(last.Add(time.Minute))
	return errors.Join(bad...)
}
