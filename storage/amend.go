package storage

import "pneudaq/acquisition"

// Amendment changes how stored words are read: from block From to block To the
// group is read by another version of its map. The words stay.
type Amendment struct {
	Group   acquisition.GroupKey `json:"group"`
	Seqs    Seqs                 `json:"seqs"`
	Version uint32               `json:"version"`
	Who     string               `json:"who"`
	When    int64                `json:"when"` // Unix ns
	Why     string               `json:"why"`
}

// amendedGroup gives a block the group version that amendments say.
func (s *Store) amendedGroup(b *acquisition.Block) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st := s.groups[b.Group.Key()]
	if st == nil {
		return
	}
	for _, a := range st.amended {
		if b.Seq >= a.Seqs.From && b.Seq < a.Seqs.To {
			for _, v := range st.versions {
				if v.Version == a.Version {
					b.Group = v
				}
			}
		}
	}
}
