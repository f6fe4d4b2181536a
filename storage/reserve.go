package storage

func (*Store) useReserve() {}
func (*Store) spend()      {}

func (s *Store) unreadable(e *entry, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.Findings = append(s.report.Findings, Finding{Code: "damaged_frame", File: e.file.name, Offset: e.off, Detail: err.Error()})
}
