// Package spool is in charge of texts that leave and arrive as files: the spool
// directories of smstools (smsd) and of gammu-smsd, which drive a GSM modem or a
// phone beside the PBX. A file appears in the outgoing directory whole and once;
// what becomes of it is read off the sent and failed directories, and texts from
// phones are read from the incoming one.
package spool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"

	"textback/rules/gsm7"
	"textback/sms"
)

// A Kind is whose spool it is.
type Kind string

const (
	Smstools Kind = "smstools" // SMS Server Tools 3, smsd
	Gammu    Kind = "gammu"    // gammu-smsd with its files backend
)

// Options say where the directories are.
type Options struct {
	Kind     Kind
	Outgoing string // outgoing (smstools), OutboxPath (gammu)
	Incoming string // incoming, InboxPath; empty: texts from phones are not read
	Sent     string // sent, SentSMSPath; empty: what was sent is not told
	Failed   string // failed, ErrorSMSPath; empty: failures are not told
	Checked  string // smstools: checked, where texts wait for the modem
	Reports  string // smstools: report, where it has one of its own

	// StateFile is where it stands which texts were handed over, for ever: in the
	// directories they come and go.
	StateFile string
	Number    string // the SIM's own, E.164: Inbound.To
	Region    string // where senders without a country code are at home
	Report    bool   // ask the network for delivery reports

	// Zero values mean the defaults in parentheses.
	Poll   time.Duration // how often directories are looked at (2 s)
	Settle time.Duration // how long a file must have been left alone to count as whole (2 s)
	Expire time.Duration // a text that still waits in Outgoing or Checked after this long is taken back (15 min)

	Log *slog.Logger
}

// A Transport is a spool. It is safe for concurrent use; one process at a time
// may use its StateFile.
type Transport struct {
	opt  Options
	sync func(dir string) error

	mu     sync.Mutex
	ledger *ledger           // nil while nothing runs
	said   map[string]bool   // problems that were told of
	sizes  map[string]int64  // of files in Incoming at the last look
	looked map[string]string // files in Sent and Failed that are settled, and of which text
}

// Open checks the options. Directories are looked at by Check, and the state file
// is opened by Run.
func Open(opt Options) (*Transport, error) {
	if opt.Kind != Smstools && opt.Kind != Gammu {
		return nil, fmt.Errorf("unknown kind of spool %q", opt.Kind)
	}
	if opt.Outgoing == "" || opt.StateFile == "" {
		return nil, errors.New("a spool needs its outgoing directory and a state file")
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&opt.Poll, 2*time.Second)
	def(&opt.Settle, 2*time.Second)
	def(&opt.Expire, 15*time.Minute)
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	return &Transport{opt: opt, sync: syncDir, said: map[string]bool{}, sizes: map[string]int64{}, looked: map[string]string{}}, nil
}

// Traits declares what a spool can do.
func (t *Transport) Traits() sms.Traits {
	tr := sms.Traits{Name: "spool", Replies: sms.NoReplies, Receipts: t.opt.Sent != "" || t.opt.Failed != ""}
	if t.opt.Incoming != "" {
		tr.Replies = sms.BySpool
	}
	return tr
}

// HonoursID reports true: a Message.ID is handed over once, whatever the daemon
// has done with its file since.
func (t *Transport) HonoursID() bool { return true }

// Check tells what about the directories cannot work.
func (t *Transport) Check(context.Context) error { return Check(t.opt) }

// Check is Transport.Check before there is a Transport.
func Check(opt Options) error {
	var errs []error
	for _, d := range []struct {
		name, path    string
		write, remove bool
	}{{"outgoing", opt.Outgoing, true, false}, {"incoming", opt.Incoming, true, true}, {"sent", opt.Sent, false, false},
		{"failed", opt.Failed, false, false}, {"checked", opt.Checked, true, false}, {"reports", opt.Reports, true, true}} {
		if d.path == "" {
			continue
		}
		if err := usable(d.path, d.write, d.remove); err != nil {
			errs = append(errs, fmt.Errorf("%s directory %s: %w", d.name, d.path, err))
		}
	}
	return errors.Join(errs...)
}

func usable(dir string, write, remove bool) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("there is none: is the daemon installed, and does its configuration say the same?")
	case err != nil:
		return errors.New("it cannot be reached by this user: add it to the directory's group")
	case !info.IsDir():
		return errors.New("it is no directory")
	}
	if f, err := os.Open(dir); err != nil {
		return errors.New("it cannot be read by this user: add it to the directory's group")
	} else {
		f.Close()
	}
	if st, ok := info.Sys().(*syscall.Stat_t); remove && ok && info.Mode()&fs.ModeSticky != 0 && os.Geteuid() != 0 && int(st.Uid) != os.Geteuid() {
		return errors.New("its sticky bit lets nobody but the daemon remove what was read, so texts would be read again and again: chmod -t it")
	}
	if write && syscall.Access(dir, 2|1) != nil { // W_OK, X_OK
		return errors.New("this user may not write there: add it to the directory's group, and chmod g+w it")
	}
	return nil
}

var (
	fileID  = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)
	e164    = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
	errDown = errors.New("the spool is not open: textback is starting or stopping")
)

// Submit hands a text to the daemon. The file is written aside, synced and noted
// before it is renamed to its place: one that is noted and no longer aside has been
// handed over, and is not again.
func (t *Transport) Submit(_ context.Context, m sms.Message) (sms.Receipt, error) {
	fail := func(c sms.Class, err error) (sms.Receipt, error) {
		return sms.Receipt{}, &sms.Error{Class: c, Err: fmt.Errorf("spool: %w", err)}
	}
	switch {
	case !fileID.MatchString(m.ID):
		return fail(sms.Rejected, errors.New("the text's id cannot be part of a file's name"))
	case !e164.MatchString(m.To):
		return fail(sms.Invalid, errors.New("the recipient is no number in E.164"))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ledger == nil {
		return fail(sms.Transient, errDown)
	}
	n, encoding := gsm7.Segments(m.Body)
	if _, ok := forSmsd(m.Body); t.opt.Kind == Smstools && encoding == "GSM-7" && !ok {
		n = 0 // not as everybody else would count
	}
	receipt := sms.Receipt{ProviderID: m.ID, Segments: n, Status: "spooled"}
	aside := filepath.Join(t.opt.Outgoing, aside(m.ID))
	if have, ok := t.ledger.get(m.ID); ok {
		switch _, err := os.Lstat(aside); {
		case have.State == withdrawn:
			return fail(sms.Transient, errors.New("the daemon did not take the text in time, and it was taken back"))
		case err == nil: // noted, and we ended before it was in its place
			return t.place(aside, m, receipt)
		case errors.Is(err, fs.ErrNotExist):
			return receipt, nil
		default:
			return fail(sms.Ambiguous, plain(err))
		}
	}
	// Its name is synced too: a note without the file would say that it was handed over.
	_, content := t.render(m)
	err := writeSynced(aside, content)
	if err == nil {
		if err = t.sync(t.opt.Outgoing); errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
			err = nil // a file system that cannot: no reason to send nothing at all
		}
	}
	if err != nil {
		_ = os.Remove(aside)
		class := sms.Transient
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			class = sms.Misconfigured
		}
		return fail(class, fmt.Errorf("outgoing directory: %w", plain(err)))
	}
	if err := t.ledger.put(entry{ID: m.ID, State: placed, At: time.Now().UTC(), To: blind(m.ID, m.To)}); err != nil {
		// Not noted means not handed over, but a torn note may be read back as one:
		// then the file aside says that it was not.
		return fail(sms.Transient, fmt.Errorf("state file: %w", plain(err)))
	}
	return t.place(aside, m, receipt)
}

// place renames a file from aside to its place.
func (t *Transport) place(aside string, m sms.Message, receipt sms.Receipt) (sms.Receipt, error) {
	name, _ := t.render(m)
	if err := os.Rename(aside, filepath.Join(t.opt.Outgoing, name)); err != nil {
		return sms.Receipt{}, &sms.Error{Class: sms.Transient, Err: fmt.Errorf("spool: outgoing directory: %w", plain(err))}
	}
	// From here on the daemon has it. That the name outlives a power failure is
	// wished for and no reason to say that it was not taken.
	if err := t.sync(t.opt.Outgoing); err != nil {
		t.opt.Log.Warn("the outgoing directory cannot be synced", "error", plain(err))
	}
	return receipt, nil
}

// aside is the name of a file that is not in its place yet. gammu-smsd passes over
// what does not begin with OUT, smsd over what begins with a dot.
func aside(id string) string { return ".textback-" + id }

func writeSynced(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o660)
	if err != nil {
		return err
	}
	// The daemon runs as another user: it reaches the file by the directory's group.
	if info, err := os.Stat(filepath.Dir(path)); err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			_ = f.Chown(-1, int(st.Gid))
		}
	}
	_ = f.Chmod(0o660)
	_, err = f.Write(content)
	return errors.Join(err, f.Sync(), f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// plain leaves the path out of an error: files of gammu have numbers in their names.
func plain(err error) error {
	var pe *fs.PathError
	var le *os.LinkError
	switch {
	case errors.As(err, &pe):
		return pe.Err
	case errors.As(err, &le):
		return le.Err
	}
	return err
}

// render is the file of a text: its name and its content.
func (t *Transport) render(m sms.Message) (name string, content []byte) {
	if t.opt.Kind == Gammu {
		return gammuFile(m, t.opt.Report)
	}
	return "textback-" + m.ID, smstoolsFile(m, t.opt.Report)
}
