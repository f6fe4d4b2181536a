//go:build !linux

package acquisition

import "time"

func kernelSleep(d time.Duration) { time.Sleep(d) }
