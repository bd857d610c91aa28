package lab

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
)

// insideEnv marks the process that runs in the lab's own namespaces; its
// value is the directory of images.
const insideEnv = "TEXTBACK_LAB_INSIDE"

// unavailable says why Start skips its test.
var unavailable = "lab.Main did not run: call it from TestMain"

// images is the directory that holds an image of each version.
var images string

// Main is what TestMain calls in a package that uses the lab. It prepares the
// images, runs the test binary once more in namespaces of its own (network,
// mounts, processes) and exits with its status, so that two runs never meet
// and nothing a test starts can reach a network or outlive it. With -short,
// and without the rights of root, the tests run where they are and Start skips
// them.
func Main(m *testing.M) {
	flag.Parse()
	if images = os.Getenv(insideEnv); images != "" {
		if err := furnish(); err != nil {
			fmt.Fprintln(os.Stderr, "lab:", err)
			os.Exit(1)
		}
		unavailable = ""
		os.Exit(m.Run())
	}
	switch {
	case testing.Short():
		unavailable = "a real Asterisk takes too long for -short"
	case os.Getuid() != 0:
		unavailable = "a real Asterisk in a namespace needs root"
	default:
		status, err := enter()
		if err == nil {
			os.Exit(status)
		}
		if !errors.Is(err, syscall.EPERM) {
			fmt.Fprintln(os.Stderr, "lab:", err)
			os.Exit(1)
		}
		unavailable = err.Error()
	}
	os.Exit(m.Run())
}

// enter runs this test binary again inside, and returns its exit status.
func enter() (status int, err error) {
	if err := Prepare(); err != nil {
		return 0, err
	}
	dir, err := cacheDir()
	if err != nil {
		return 0, err
	}
	// Pdeathsig follows the thread that forked, not the process.
	runtime.LockOSThread()
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideEnv+"="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		// A namespace of processes too: the kernel kills them all with the first.
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("enter namespaces: %w", err)
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// workshop is a tmpfs that exists only in this mount namespace: everything a
// run writes goes away with its last process.
var workshop = "/tmp"

// furnish makes fresh namespaces usable.
func furnish() error {
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("ip link set lo up: %w: %s", err, out)
	}
	workshop = filepath.Join(images, "run")
	if err := os.MkdirAll(workshop, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", workshop, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", workshop, err)
	}
	return nil
}
