package web

import (
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"pneudaq/acquisition"
)

type reason = acquisition.Reason

const (
	mostID         = 128
	mostNote       = 4000
	recordingsPage = 100
	idLetters      = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
)

// recordingID reads the id of a path. Ids are names of files in exports, so
// anything that is no id is refused before anybody looks for it.
func recordingID(r *http.Request) (string, error) {
	id := r.PathValue("id")
	ok := id != "" && len(id) <= mostID && id[0] != '.' && !strings.ContainsFunc(id, func(c rune) bool {
		return !strings.ContainsRune(idLetters, c)
	})
	if !ok {
		return "", NotFound("recording", id)
	}
	return id, nil
}

func (d *RecordingDetail) fill() {
	d.Groups, d.Content = full(d.Groups), full(d.Content)
	for i := range d.Content {
		d.Content[i].Channels = full(d.Content[i].Channels)
	}
}

func (s *Server) getRecordings(w http.ResponseWriter, r *http.Request) error {
	q := queryOf(r)
	want := RecordingQuery{Rig: q.text("rig"), Before: q.time("before"), Limit: q.number("limit", recordingsPage, 1, 1000)}
	if err := q.done(); err != nil {
		return err
	}
	if err := offered(s.o.Recordings, "recordings"); err != nil {
		return err
	}
	list, err := s.o.Recordings.Recordings(r.Context(), want)
	if err != nil {
		return err
	}
	for i := range list {
		list[i].Groups = full(list[i].Groups)
	}
	next := ""
	if len(list) >= want.Limit {
		next = list[len(list)-1].Start.String()
	}
	return writeJSON(w, http.StatusOK, struct {
		Recordings []Recording `json:"recordings"`
		Next       string      `json:"next,omitempty"` // value of before for what follows
	}{full(list), next})
}

func (s *Server) getRecording(w http.ResponseWriter, r *http.Request) error {
	if err := queryOf(r).done(); err != nil {
		return err
	}
	d, err := s.recording(r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, d)
}

func (s *Server) recording(r *http.Request) (RecordingDetail, error) {
	id, err := recordingID(r)
	if err != nil {
		return RecordingDetail{}, err
	}
	if err := offered(s.o.Recordings, "recordings"); err != nil {
		return RecordingDetail{}, err
	}
	d, err := s.o.Recordings.Recording(r.Context(), id)
	if err != nil {
		return d, err
	}
	d.fill()
	return d, nil
}

func (s *Server) postRecording(w http.ResponseWriter, r *http.Request) error {
	var n NewRecording
	if err := readJSON(w, r, &n); err != nil {
		return err
	}
	if err := offered(s.o.Recordings, "recordings"); err != nil {
		return err
	}
	if n.Rig == "" {
		return problem(CodeBody, "rig is missing")
	}
	if len(n.Note) > mostNote || len(n.Owner) > mostNote {
		return problem(CodeBody, fmt.Sprintf("note or owner has more than %d bytes", mostNote))
	}
	if n.Owner == "" {
		n.Owner = whoOf(r.Context()).Name
	}
	d, err := s.o.Recordings.Start(r.Context(), n)
	if err != nil {
		return err
	}
	d.fill()
	w.Header().Set("Location", "/api/v1/recordings/"+d.ID)
	return writeJSON(w, http.StatusCreated, d)
}

func (s *Server) postStop(w http.ResponseWriter, r *http.Request) error {
	var body struct{}
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	id, err := recordingID(r)
	if err != nil {
		return err
	}
	if err := offered(s.o.Recordings, "recordings"); err != nil {
		return err
	}
	d, err := s.o.Recordings.Stop(r.Context(), id, whoOf(r.Context()).Name)
	if err != nil {
		return err
	}
	d.fill()
	return writeJSON(w, http.StatusOK, d)
}

func (s *Server) getAudit(w http.ResponseWriter, r *http.Request) error {
	if err := queryOf(r).done(); err != nil {
		return err
	}
	id, err := recordingID(r)
	if err != nil {
		return err
	}
	if err := offered(s.o.Ledger, "audit"); err != nil {
		return err
	}
	a, err := s.o.Ledger.Audit(r.Context(), id)
	if err != nil {
		return err
	}
	a.Accounts, a.Sinks, a.Recording.Groups = full(a.Accounts), full(a.Sinks), full(a.Recording.Groups)
	for i := range a.Accounts {
		if a.Accounts[i].Gaps == nil {
			a.Accounts[i].Gaps = map[reason]uint64{}
		}
		a.Accounts[i].Channels = full(a.Accounts[i].Channels)
	}
	return writeJSON(w, http.StatusOK, a)
}

func (s *Server) postAmend(w http.ResponseWriter, r *http.Request) error {
	var a Amendment
	if err := readJSON(w, r, &a); err != nil {
		return err
	}
	id, err := recordingID(r)
	if err != nil {
		return err
	}
	if err := offered(s.o.Ledger, "amendments"); err != nil {
		return err
	}
	switch {
	case a.Group == "" || a.Channel == "":
		return problem(CodeBody, "group or channel is missing")
	case strings.TrimSpace(a.Why) == "":
		return problem(CodeBody, "why is missing: an amendment states its reason")
	}
	if a.Who == "" {
		a.Who = whoOf(r.Context()).Name
	}
	if err := s.o.Ledger.Amend(r.Context(), id, a); err != nil {
		return err
	}
	d, err := s.recording(r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, d)
}

func (s *Server) getReconcile(w http.ResponseWriter, r *http.Request) error {
	q := queryOf(r)
	want := ReconcileQuery{Recording: q.text("recording")}
	if err := q.done(); err != nil {
		return err
	}
	return s.reconcile(w, r, want)
}

func (s *Server) postReconcile(w http.ResponseWriter, r *http.Request) error {
	var want ReconcileQuery
	if err := readJSON(w, r, &want); err != nil {
		return err
	}
	return s.reconcile(w, r, want)
}

func (s *Server) reconcile(w http.ResponseWriter, r *http.Request, want ReconcileQuery) error {
	if err := offered(s.o.Ledger, "reconciling"); err != nil {
		return err
	}
	list, err := s.o.Ledger.Reconcile(r.Context(), want)
	if err != nil {
		return err
	}
	for i := range list {
		list[i].Differences = full(list[i].Differences)
	}
	return writeJSON(w, http.StatusOK, struct {
		Reports []ReconcileReport `json:"reports"`
	}{full(list)})
}

func (s *Server) getMethods(w http.ResponseWriter, r *http.Request) error {
	if err := queryOf(r).done(); err != nil {
		return err
	}
	if err := offered(s.o.Evaluator, "evaluation"); err != nil {
		return err
	}
	list, err := s.o.Evaluator.Methods(r.Context())
	if err != nil {
		return err
	}
	for i := range list {
		list[i].Channels, list[i].Parameters = full(list[i].Channels), full(list[i].Parameters)
	}
	return writeJSON(w, http.StatusOK, struct {
		Methods []Method `json:"methods"`
	}{full(list)})
}

func (s *Server) postEvaluate(w http.ResponseWriter, r *http.Request) error {
	var want EvaluateRequest
	if err := readJSON(w, r, &want); err != nil {
		return err
	}
	id, err := recordingID(r)
	if err != nil {
		return err
	}
	if err := offered(s.o.Evaluator, "evaluation"); err != nil {
		return err
	}
	if want.Method == "" {
		return problem(CodeBody, "method is missing")
	}
	e, err := s.o.Evaluator.Evaluate(r.Context(), id, want, language(r))
	if err != nil {
		return err
	}
	e.Figures = full(e.Figures)
	return writeJSON(w, http.StatusOK, e)
}

func (s *Server) getExport(w http.ResponseWriter, r *http.Request) error {
	q := queryOf(r)
	want := ExportQuery{Format: q.text("format"), Channels: q.channels(), Groups: q.list("groups"), BOM: q.bool("bom"), Language: language(r)}
	if err := q.done(); err != nil {
		return err
	}
	var err error
	if want.Recording, err = recordingID(r); err != nil {
		return err
	}
	if err := offered(s.o.Exporter, "export"); err != nil {
		return err
	}
	if want.Format == "" {
		want.Format = "csv"
	}
	f, ok, err := s.o.Exporter.Describe(r.Context(), want)
	if err != nil {
		return err
	}
	if !ok {
		return parameter("format", "%s is not one of csv, parquet, xlsx, jsonl", strconv.Quote(want.Format))
	}
	h := w.Header()
	h.Set("Content-Type", f.Media)
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": want.Recording + "." + f.Extension}))
	return s.o.Exporter.Export(r.Context(), w, want)
}
