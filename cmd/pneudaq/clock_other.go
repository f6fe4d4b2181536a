//go:build !linux

package main

import "time"

func kernelClock() clockState { return clockState{Source: "unknown on this system"} }

func asleep() time.Duration { return 0 }
