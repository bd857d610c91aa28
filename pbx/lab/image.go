package lab

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Version is a major version of Asterisk that the lab can run.
type Version int

// The oldest and the newest Asterisk that Debian packages.
const (
	V16 Version = 16
	V22 Version = 22
)

// Versions lists every Version.
var Versions = []Version{V22, V16}

func (v Version) String() string { return fmt.Sprintf("asterisk%d", int(v)) }

// suite is the Debian release that carries the version, and what its package
// leaves out of a minimal installation.
func (v Version) suite() (name string, include []string) {
	include = []string{"asterisk", "asterisk-core-sounds-en-gsm"}
	if v == V16 {
		return "bullseye", append(include, "asterisk-voicemail")
	}
	return "sid", include
}

// cacheDir is where images are kept between runs.
func cacheDir() (string, error) {
	if dir := os.Getenv("TEXTBACK_LAB_DIR"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place for images (set TEXTBACK_LAB_DIR): %w", err)
	}
	return filepath.Join(dir, "textback-lab"), nil
}

// tools are the programs the lab runs, with the Debian package of each.
var tools = []struct{ program, pkg string }{
	{"debootstrap", "debootstrap"}, {"sipp", "sip-tester"}, {"ip", "iproute2"},
}

// Prepare installs missing tools and builds missing images, all versions at
// once. It needs the network and root; when everything is there already it
// takes no time. Main calls it.
func Prepare() error {
	dir, err := cacheDir()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := install(dir); err != nil {
		return err
	}
	errs := make([]error, len(Versions))
	var wg sync.WaitGroup
	for i, v := range Versions {
		wg.Go(func() { errs[i] = build(dir, v) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func install(dir string) error {
	missing := func() (pkgs []string) {
		for _, tool := range tools {
			if _, err := exec.LookPath(tool.program); err != nil {
				pkgs = append(pkgs, tool.pkg)
			}
		}
		return pkgs
	}
	if missing() == nil {
		return nil
	}
	unlock, err := lock(filepath.Join(dir, "install.lock"))
	if err != nil {
		return err
	}
	defer unlock()
	pkgs := missing()
	if pkgs == nil {
		return nil // another process installed them while this one waited
	}
	for _, args := range [][]string{{"update"}, append([]string{"install", "-y", "--no-install-recommends"}, pkgs...)} {
		cmd := exec.Command("apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, tail(out, 20))
		}
	}
	return nil
}

// build makes the image of v unless it is there. An image appears under its
// name only when it is whole.
func build(dir string, v Version) error {
	image := filepath.Join(dir, v.String())
	if _, err := os.Stat(image); err == nil {
		return nil
	}
	unlock, err := lock(image + ".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Stat(image); err == nil {
		return nil // another process built it while this one waited
	}
	mirror, err := mirror("/etc/apt")
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(dir, v.String()+".tmp")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	suite, include := v.suite()
	for try := 1; ; try++ { // a mirror may be in the middle of an update
		out, err := exec.Command("debootstrap", "--variant=minbase", "--include="+strings.Join(include, ","), suite, tmp, mirror).CombinedOutput()
		if err == nil {
			break
		}
		if try == 3 {
			return fmt.Errorf("debootstrap %s from %s: %w\n%s", suite, mirror, err, tail(out, 20))
		}
		if err := errors.Join(os.RemoveAll(tmp), os.Mkdir(tmp, 0o755)); err != nil {
			return err
		}
		time.Sleep(20 * time.Second)
	}
	archives, _ := filepath.Glob(filepath.Join(tmp, "var/cache/apt/archives/*.deb"))
	for _, deb := range archives {
		_ = os.Remove(deb) // only saves space
	}
	return os.Rename(tmp, image)
}

// lock takes an exclusive lock on a file, waiting for other processes.
func lock(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return func() { f.Close() }, nil
}

// mirror is the Debian mirror of this machine, from its apt configuration in
// either format; TEXTBACK_LAB_MIRROR overrules it.
func mirror(etc string) (string, error) {
	if m := os.Getenv("TEXTBACK_LAB_MIRROR"); m != "" {
		return m, nil
	}
	names, _ := filepath.Glob(filepath.Join(etc, "sources.list.d/*"))
	for _, name := range append([]string{filepath.Join(etc, "sources.list")}, names...) {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		m := mirrorIn(f)
		f.Close()
		if m != "" {
			return m, nil
		}
	}
	return "", fmt.Errorf("no Debian mirror in %s; set TEXTBACK_LAB_MIRROR to one", etc)
}

// mirrorIn finds the first archive of Debian itself: its address ends in
// /debian, which those of security updates and of other vendors do not.
func mirrorIn(r io.Reader) string {
	in := bufio.NewScanner(r)
	for in.Scan() {
		line := strings.TrimSpace(in.Text())
		uris, deb822 := strings.CutPrefix(line, "URIs:")
		if !deb822 && !strings.HasPrefix(line, "deb ") {
			continue
		}
		if !deb822 {
			uris = line
		}
		for _, f := range strings.Fields(uris) {
			u, err := url.Parse(f)
			if err == nil && u.Host != "" && strings.HasPrefix(u.Scheme, "http") && strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), "/debian") {
				return f
			}
		}
	}
	return ""
}

// tail is the last n lines of out.
func tail(out []byte, n int) []byte {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-n):], []byte("\n"))
}
