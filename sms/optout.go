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
	"golang.org/x/sys/unix"

	"textback/pbx/bus"
	"textback/rules"
)

// OptOut is one change of somebody's mind, under textback.v1.optout.<key>. The
// last one counts.
type OptOut struct {
	Key    string    `json:"key"`
	Out    bool      `json:"out"` // false: texts are welcome again
	At     time.Time `json:"at"`
	Source string    `json:"source"` // see below

	// Of a change by keyword: the inbound text's id, and when the provider got it.
	By   string    `json:"by,omitempty"`
	Said time.Time `json:"said,omitzero"`
	// Number is kept only when the configuration says so; the key is enough to obey.
	Number string `json:"number,omitempty"`
}

// The values of OptOut.Source.
const (
	ByAdmin   = "admin"
	ByCarrier = "carrier" // an error code, a receipt, or a STOP that the carrier heard
	ByKeyword = "keyword" // STOP or START, heard by textback
	ByImport  = "import"
)

// OptOuts is the list of those who have said stop: a stream that nobody can
// delete from, and a copy in a file that is synced at each change. The union
// of both counts: whoever is out in either is out.
type OptOuts struct {
	Keep Retention // of what is ended because somebody is out

	nc      *nats.Conn
	key     Key
	mu      sync.Mutex
	path    string
	numbers bool
}

// optOutsFile is the name of the copy.
const optOutsFile = "optouts.jsonl"

// KeepNumbers has numbers stored beside the keys, from now on. Without it nobody
// can read from the list who is on it, only ask about a number.
func (o *OptOuts) KeepNumbers() { o.numbers = true }

// OpenOptOuts joins the stream and the copy in dir: what one of them has lost
// it gets from the other. dir may be empty: then there is no copy.
func OpenOptOuts(ctx context.Context, nc *nats.Conn, key Key, dir string) (*OptOuts, error) {
	o := &OptOuts{nc: nc, key: key}
	if dir == "" {
		return o, nil
	}
	o.path = filepath.Join(dir, optOutsFile)
	// There from the start: else the first to write would be whoever adds a number by
	// hand, as root, and the daemon could store no STOP.
	if f, err := o.open(); err != nil {
		return nil, err
	} else if err := f.Close(); err != nil {
		return nil, fmt.Errorf("the copy of opt-outs: %w", err)
	}
	inFile, err := o.load()
	if err != nil {
		return nil, err
	}
	inStream := map[string]OptOut{}
	all, err := allOf[OptOut](ctx, nc, OptOutStream, optOutPrefix+"*")
	if err != nil {
		return nil, fmt.Errorf("read opt-outs: %w", err)
	}
	for _, x := range all {
		inStream[x.Key] = *x
		if have, ok := inFile[x.Key]; !ok || have.At.Before(x.At) {
			if err := o.save(*x); err != nil {
				return nil, err
			}
		}
	}
	for k, x := range inFile {
		have, ok := inStream[k]
		// Welcome was in the stream before it was in the file.
		if x.Out && (!ok || have.At.Before(x.At)) {
			if err := o.publish(ctx, x, anySeq); err != nil {
				return nil, err
			}
		}
	}
	return o, nil
}

// open opens the copy, makes it if need be, and gives it to whom its directory belongs:
// the daemon has a user of its own, the command line may be root's.
func (o *OptOuts) open() (*os.File, error) {
	f, err := os.OpenFile(o.path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("the copy of opt-outs: %w: it must belong to the owner of its directory (chown --reference=%s %s)", err, filepath.Dir(o.path), o.path)
	}
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("the copy of opt-outs: %s is a link: put the file itself there", o.path)
	}
	if err != nil {
		return nil, fmt.Errorf("the copy of opt-outs: %w", err)
	}
	if err := handOver(f, filepath.Dir(o.path)); err != nil {
		return nil, errors.Join(fmt.Errorf("the copy of opt-outs: %w", err), f.Close())
	}
	return f, nil
}

// handOver gives a file the owner of its directory, where we are root. It does not follow
// that owner to another file, by a link, which is not theirs.
func handOver(f *os.File, dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	var d, have unix.Stat_t
	if err := unix.Stat(dir, &d); err != nil {
		return err
	}
	if err := unix.Fstat(int(f.Fd()), &have); err != nil || have.Uid == d.Uid && have.Gid == d.Gid {
		return err
	}
	if have.Mode&unix.S_IFMT != unix.S_IFREG || have.Nlink != 1 {
		return errors.New("it belongs to another user than its directory, and is a link")
	}
	if err := f.Chown(int(d.Uid), int(d.Gid)); !errors.Is(err, os.ErrPermission) {
		return err
	}
	return nil // a root without that right, as in some containers: then nobody else is the daemon
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
	f, err := o.open()
	if err != nil {
		return err
	}
	// The command line writes here too while the daemon runs.
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return errors.Join(fmt.Errorf("copy an opt-out: %w", err), f.Close())
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

// publish stores x on version seq of what is in the stream; on any if anySeq.
func (o *OptOuts) publish(ctx context.Context, x OptOut, seq uint64) error {
	b, err := json.Marshal(x)
	if err != nil {
		return err
	}
	m := nats.NewMsg(optOutSubject(x.Key))
	m.Data = b
	if seq != anySeq {
		m.Header.Set(bus.HdrExpectSeq, fmt.Sprint(seq))
	}
	if _, err := bus.Publish(ctx, o.nc, m); err != nil {
		return fmt.Errorf("store an opt-out: %w", err)
	}
	return nil
}

const anySeq = ^uint64(0)

// Set stores that a number is out, or welcome again. It is written before the
// caller's record is touched, so that a submission that has not begun by then
// cannot begin. When it returns nil, no text will be handed to a provider any
// more; one that was handed over before cannot be called back.
func (o *OptOuts) Set(ctx context.Context, number string, out bool, source string) error {
	x := OptOut{Key: o.key.Caller(number), Out: out, At: time.Now().UTC(), Source: source, Number: number}
	if err := o.set(ctx, x); err != nil || !out {
		return err
	}
	return o.endPlanned(ctx, x.Key)
}

// endPlanned ends what is planned for whoever is out. It would be stopped when it comes
// due; this way nobody has to wait for that to see it.
func (o *OptOuts) endPlanned(ctx context.Context, key string) error {
	var c Caller
	if _, err := readCaller(ctx, o.nc, key, &c, time.Now()); err != nil {
		return err
	}
	for _, id := range c.Open {
		for {
			var j Job
			seq, err := read(ctx, o.nc, Stream, jobSubject(id), &j)
			if err != nil {
				return err
			}
			if seq == 0 || j.State != Scheduled || j.Kind != Text && !j.FollowUp {
				break // on its way, or over
			}
			j.State, j.Why, j.Because, j.UpdatedAt = Cancelled, rules.SaidStop, "the number has been put on the list of opt-outs", time.Now().UTC()
			if err = putByHand(ctx, o.nc, &j, seq, o.Keep); err == nil {
				break
			} else if !errors.Is(err, bus.ErrWrongSequence) {
				return err
			}
		}
	}
	return nil
}

func (o *OptOuts) set(ctx context.Context, x OptOut) error {
	var have OptOut
	if _, err := read(ctx, o.nc, OptOutStream, optOutSubject(x.Key), &have); err != nil {
		return err
	}
	// Who is out stays out with what is known of it: when they said so, and by which text.
	if known := have.Out && x.Out && (have.Number != "" || x.Number == "" || !o.numbers); !known {
		if have.Out && x.Out {
			number := x.Number
			x = have
			x.Number = number
		}
		if err := o.declare(ctx, x, anySeq); err != nil {
			return err
		}
	}
	for {
		var c Caller
		seq, err := readCaller(ctx, o.nc, x.Key, &c, time.Now())
		if err != nil {
			return err
		}
		c.StopAt = x.At
		m, err := record(callerSubject(x.Key), &c, seq, callerTTL)
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

// declare writes x to the list alone. The caller's record must be stored after
// it, or a submission that has just asked the list goes on.
func (o *OptOuts) declare(ctx context.Context, x OptOut, seq uint64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.numbers {
		x.Number = ""
	}
	if !x.Out {
		// The copy must not say that somebody is welcome while the stream may refuse it.
		if err := o.publish(ctx, x, seq); err != nil {
			return err
		}
		return o.save(x)
	}
	if err := o.save(x); err != nil {
		return err
	}
	return o.publish(ctx, x, seq)
}

// stop puts a caller on the list whose text says so. carrier is true when they
// were on it because the carrier had told us, and so them.
func (o *OptOuts) stop(ctx context.Context, x OptOut) (carrier bool, err error) {
	for {
		var have OptOut
		seq, err := read(ctx, o.nc, OptOutStream, optOutSubject(x.Key), &have)
		if err != nil {
			return false, err
		}
		now := x
		if carrier = have.Out && have.Source == ByCarrier; carrier || have.Out && have.Source == ByKeyword {
			if !x.Said.After(have.Said) {
				return carrier, nil
			}
			// Said again: a START from before this one lifts nothing.
			now = have
			now.At, now.Said = x.At, x.Said
		}
		if err = o.declare(ctx, now, seq); !errors.Is(err, bus.ErrWrongSequence) {
			return carrier, err
		}
	}
}

// start takes a caller off the list whose text x.By says so, unless they said
// stop after it: texts may arrive in another order. lifted is false when there
// was nothing to lift.
func (o *OptOuts) start(ctx context.Context, x OptOut) (lifted bool, err error) {
	for {
		var have OptOut
		seq, err := read(ctx, o.nc, OptOutStream, optOutSubject(x.Key), &have)
		switch {
		case err != nil:
			return false, err
		case !have.Out:
			return seq > 0 && have.By == x.By, nil
		case !x.Said.After(have.Said):
			return false, nil
		}
		if err = o.declare(ctx, x, seq); !errors.Is(err, bus.ErrWrongSequence) {
			return err == nil, err
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

// Each gives f every number's last word, those who came back included.
func (o *OptOuts) Each(ctx context.Context, f func(OptOut)) error {
	all, err := allOf[OptOut](ctx, o.nc, OptOutStream, optOutPrefix+"*")
	if err != nil {
		return fmt.Errorf("read opt-outs: %w", err)
	}
	for _, x := range all {
		f(*x)
	}
	return nil
}

// Count tells how many have said stop.
func (o *OptOuts) Count(ctx context.Context) (n int, err error) {
	err = o.Each(ctx, func(x OptOut) {
		if x.Out {
			n++
		}
	})
	return n, err
}
