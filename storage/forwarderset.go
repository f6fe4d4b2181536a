package storage

import (
	"slices"
	"sort"
)

// Seqs is a range of block numbers of one group: From included, To not.
type Seqs struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// Empty reports whether the range holds no number.
func (s Seqs) Empty() bool { return s.From >= s.To }

// Within returns the part of the range that lies in another.
func (s Seqs) Within(o Seqs) Seqs { return Seqs{From: max(s.From, o.From), To: min(s.To, o.To)} }

// SeqSet is a set of block numbers as ranges: sorted, apart from each other,
// none empty. The zero value is the empty set.
type SeqSet []Seqs

// Add puts a range into the set.
func (s *SeqSet) Add(r Seqs) {
	if r.Empty() {
		return
	}
	set := *s
	if n := len(set); n > 0 && set[n-1].From <= r.From && r.From <= set[n-1].To { // the usual case: the next number
		set[n-1].To = max(set[n-1].To, r.To)
		return
	}
	first := sort.Search(len(set), func(i int) bool { return set[i].To >= r.From })
	last := first
	for last < len(set) && set[last].From <= r.To {
		r.From, r.To = min(r.From, set[last].From), max(r.To, set[last].To)
		last++
	}
	*s = slices.Replace(set, first, last, r)
}

// Remove takes a range out of the set.
func (s *SeqSet) Remove(r Seqs) {
	if r.Empty() {
		return
	}
	set := *s
	first := sort.Search(len(set), func(i int) bool { return set[i].To > r.From })
	last := first
	var rest []Seqs
	for last < len(set) && set[last].From < r.To {
		if left := (Seqs{set[last].From, r.From}); !left.Empty() {
			rest = append(rest, left)
		}
		if right := (Seqs{r.To, set[last].To}); !right.Empty() {
			rest = append(rest, right)
		}
		last++
	}
	*s = slices.Replace(set, first, last, rest...)
}

// Has reports whether a number is in the set.
func (s SeqSet) Has(seq uint64) bool {
	i := sort.Search(len(s), func(i int) bool { return s[i].To > seq })
	return i < len(s) && s[i].From <= seq
}

// Missing returns the first range within r that is not in the set, and whether
// there is one.
func (s SeqSet) Missing(r Seqs) (Seqs, bool) {
	i := sort.Search(len(s), func(i int) bool { return s[i].To > r.From })
	if i < len(s) && s[i].From <= r.From {
		r.From = s[i].To
		i++
	}
	if i < len(s) {
		r.To = min(r.To, s[i].From)
	}
	return r, !r.Empty()
}

// Count returns how many numbers the set holds.
func (s SeqSet) Count() uint64 {
	n := uint64(0)
	for _, r := range s {
		n += r.To - r.From
	}
	return n
}
