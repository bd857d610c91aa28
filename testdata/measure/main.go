// Measure runs a command, its output thrown away, and prints how long it took and
// how much memory it had at most: seconds and megabytes.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

func main() {
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stderr = os.Stderr
	began := time.Now()
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	took := time.Since(began).Seconds()
	fmt.Printf("%.2f %.0f\n", took, float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)/1024)
}
