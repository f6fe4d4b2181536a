package storage

import (
	"context"

	"pneudaq/acquisition"
)

// catalog is everything relational.
type catalog struct{ changes changes }

// changes wait for the next time the catalog is written.
type changes struct {
	epochs []acquisition.Epoch
	events []acquisition.Event
}

func (c *catalog) later(f func(*changes)) { f(&c.changes) }

func (*catalog) close() error { return nil }

func (s *Store) openCatalog(context.Context, []Entry) error {
	s.cat = &catalog{}
	return nil
}

func (*Store) reconcileCatalog(context.Context, []*loaded) error { return nil }
