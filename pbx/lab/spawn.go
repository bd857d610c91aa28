package lab

import (
	"os/exec"
	"runtime"
	"sync"
)

// Pdeathsig kills a child when the thread that forked it ends, and Go ends a
// thread whose goroutine locked it, for instance in a test. So every child is
// forked by one goroutine that never leaves its thread.
var (
	forks     chan func()
	startFork = sync.OnceFunc(func() {
		forks = make(chan func())
		go func() {
			runtime.LockOSThread()
			for f := range forks {
				f()
			}
		}()
	})
)

// spawn is cmd.Start from a thread that lives as long as this process.
func spawn(cmd *exec.Cmd) error {
	startFork()
	err := make(chan error)
	forks <- func() { err <- cmd.Start() }
	return <-err
}
