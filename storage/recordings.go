package storage

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"pneudaq/acquisition"
)

// ErrNoRecording says that a recording is not known.
var ErrNoRecording = errors.New("there is no such recording")

// StartRecording begins a recording and returns it with its id and start. A
// start of 0 means now; an earlier one takes what is stored already. From now
// on commits come at the tick of recordings. It is durable on return.
func (s *Store) StartRecording(ctx context.Context, r acquisition.Recording) (acquisition.Recording, error) {
	now := s.o.Now()
	if r.Start == 0 {
		r.Start = now
	}
	if r.ID == "" {
		r.ID = recordingID(r.Start, r.Rig)
	}
	if r.Stop != 0 && r.Stop <= r.Start {
		return r, errors.New("start recording: its stop is not after its start")
	}
	s.mu.RLock()
	_, taken := s.recorded[r.ID]
	s.mu.RUnlock()
	if taken {
		return r, fmt.Errorf("start recording: %s is there already", r.ID)
	}
	if err := s.putRecording(ctx, r); err != nil {
		return r, fmt.Errorf("start recording: %w", err)
	}
	s.Hurry()
	return r, nil
}

// recordingID is unique without coordination: UTC start, rig, random.
func recordingID(start int64, rig string) string {
	const letters = "23456789abcdefghjkmnpqrstuvwxyz" // none that are read for another
	tail := make([]byte, 6)
	for i := range tail {
		tail[i] = letters[rand.N(len(letters))]
	}
	return time.Unix(0, start).UTC().Format("20060102T150405Z") + "-" + rig + "-" + string(tail)
}

// StopRecording ends a recording; stop 0 means now. How it ended is for people:
// "completed", "aborted by ...".
func (s *Store) StopRecording(ctx context.Context, id string, stop int64, end string) (acquisition.Recording, error) {
	s.mu.RLock()
	r, ok := s.recorded[id]
	s.mu.RUnlock()
	if !ok {
		return r, fmt.Errorf("stop recording %s: %w", id, ErrNoRecording)
	}
	if r.Stop != 0 {
		return r, fmt.Errorf("stop recording %s: it was stopped before", id)
	}
	if stop == 0 {
		stop = s.o.Now()
	}
	if stop <= r.Start {
		stop = r.Start + 1
	}
	r.Stop, r.End = stop, end
	if err := s.putRecording(ctx, r); err != nil {
		return r, fmt.Errorf("stop recording %s: %w", id, err)
	}
	s.Hurry()
	return r, nil
}

// UpdateRecording changes owner, note and detail of a recording; its interval
// and groups stay.
func (s *Store) UpdateRecording(ctx context.Context, r acquisition.Recording) (acquisition.Recording, error) {
	s.mu.RLock()
	old, ok := s.recorded[r.ID]
	s.mu.RUnlock()
	if !ok {
		return r, fmt.Errorf("change recording %s: %w", r.ID, ErrNoRecording)
	}
	old.Owner, old.Note, old.Detail = r.Owner, r.Note, r.Detail
	if err := s.putRecording(ctx, old); err != nil {
		return r, fmt.Errorf("change recording %s: %w", r.ID, err)
	}
	return old, nil
}

func (s *Store) putRecording(ctx context.Context, r acquisition.Recording) error {
	text, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("describe recording: %w", err)
	}
	err = s.record(ctx, func() error { return s.cat.putRecording(r) }, copied{Kind: "recording", Key: r.ID, Body: text})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, had := s.recorded[r.ID]
	if had && old.Stop == 0 {
		s.recordings--
	}
	if r.Stop == 0 {
		s.recordings++
	}
	s.recorded[r.ID] = r
	return nil
}

// Recording returns a recording by its id.
func (s *Store) Recording(id string) (acquisition.Recording, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r, ok := s.recorded[id]
	if !ok {
		return r, fmt.Errorf("recording %s: %w", id, ErrNoRecording)
	}
	return r, nil
}

// Recordings returns all recordings of a rig ("": of all rigs) by their start.
func (s *Store) Recordings(rig string) []acquisition.Recording {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []acquisition.Recording
	for _, r := range s.recorded {
		if rig == "" || r.Rig == rig {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b acquisition.Recording) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.ID, b.ID))
	})
	return out
}
