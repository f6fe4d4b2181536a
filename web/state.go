package web

import (
	"context"
	_ "embed" // for the API's description
	"net/http"
	"slices"
)

//go:embed openapi.json
var openAPI []byte

// offered returns the problem of a part that this service does not have.
func offered(provider any, part string) error {
	if provider != nil {
		return nil
	}
	return problem(CodeNotHere, part)
}

func (s *Server) getOpenAPI(w http.ResponseWriter, r *http.Request) error {
	if err := queryOf(r).done(); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(openAPI) // whoever asked is gone
	return nil
}

// health returns the report with what the server itself knows.
func (s *Server) health(ctx context.Context, role Role, l Language) (HealthReport, error) {
	h, err := s.o.Health.Health(ctx, l)
	if err != nil {
		return h, err
	}
	h.Version, h.Time, h.Started, h.Demo = s.o.Version, Time(s.o.Now()), Time(s.started), s.o.Demo != nil
	h.Simulated = h.Simulated || s.o.Simulated
	h.Roles = role.all()
	if h.Clock.Zone == "" {
		h.Clock.Zone = s.o.Zone
	}
	h.Forwarders = full(h.Forwarders)
	for i := range h.Forwarders {
		h.Forwarders[i].Rigs = full(h.Forwarders[i].Rigs)
	}
	h.Problems = full(h.Problems)
	h.Store.Commit.fill()
	h.Store.Age.fill()
	return h, nil
}

// full makes an empty list of none, so that readers always find a list.
func full[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func (h *Histogram) fill() {
	h.Bounds = full(h.Bounds)
	if len(h.Counts) != len(h.Bounds)+1 {
		h.Counts = slices.Grow(h.Counts, len(h.Bounds)+1)[:len(h.Bounds)+1]
	}
}

func (s *Server) getHealth(w http.ResponseWriter, r *http.Request) error {
	if err := queryOf(r).done(); err != nil {
		return err
	}
	if err := offered(s.o.Health, "health"); err != nil {
		return err
	}
	h, err := s.health(r.Context(), whoOf(r.Context()).Role, language(r))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, h)
}

type stateDocument struct {
	Status string `json:"status"`
}

// getHealthz says that the process serves.
func (s *Server) getHealthz(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, stateDocument{"ok"})
}

// getReadyz says whether the service acquires.
func (s *Server) getReadyz(w http.ResponseWriter, r *http.Request) error {
	if s.o.Health != nil {
		if err := s.o.Health.Ready(r.Context()); err != nil {
			return problem(CodeNotReady, err.Error())
		}
	}
	return writeJSON(w, http.StatusOK, stateDocument{"ready"})
}

// rigs returns the rigs with no list missing.
func (s *Server) rigs(ctx context.Context) ([]Rig, error) {
	if err := offered(s.o.Rigs, "rigs"); err != nil {
		return nil, err
	}
	rigs, err := s.o.Rigs.Rigs(ctx)
	if err != nil {
		return nil, err
	}
	for i := range rigs {
		r := &rigs[i]
		r.Buses, r.Groups = full(r.Buses), full(r.Groups)
		for j := range r.Buses {
			b := &r.Buses[j].Stats
			b.RoundTrip.fill()
			if b.Exceptions == nil {
				b.Exceptions = map[string]uint64{}
			}
		}
		for j := range r.Groups {
			g := &r.Groups[j]
			g.Channels = full(g.Channels)
			if g.Missed == nil {
				g.Missed = map[reason]uint64{}
			}
		}
	}
	return full(rigs), nil
}

func (s *Server) rig(ctx context.Context, name string) (Rig, error) {
	rigs, err := s.rigs(ctx)
	if err != nil {
		return Rig{}, err
	}
	i := slices.IndexFunc(rigs, func(r Rig) bool { return r.Name == name })
	if i < 0 {
		return Rig{}, NotFound("rig", name)
	}
	return rigs[i], nil
}

func (s *Server) getRigs(w http.ResponseWriter, r *http.Request) error {
	if err := queryOf(r).done(); err != nil {
		return err
	}
	rigs, err := s.rigs(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, struct {
		Rigs []Rig `json:"rigs"`
	}{rigs})
}

func (s *Server) getRig(w http.ResponseWriter, r *http.Request) error {
	if err := queryOf(r).done(); err != nil {
		return err
	}
	rig, err := s.rig(r.Context(), r.PathValue("rig"))
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, rig)
}

func (s *Server) getTopics(w http.ResponseWriter, r *http.Request) error {
	q := queryOf(r)
	rig, bus := q.text("rig"), q.text("bus")
	if err := q.done(); err != nil {
		return err
	}
	if err := offered(s.o.Rigs, "topics"); err != nil {
		return err
	}
	topics, err := s.o.Rigs.Topics(r.Context(), rig, bus)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, struct {
		Topics []Topic `json:"topics"`
	}{full(topics)})
}

func (s *Server) getFaults(w http.ResponseWriter, r *http.Request) error {
	if err := queryOf(r).done(); err != nil {
		return err
	}
	return s.faults(w, r)
}

func (s *Server) faults(w http.ResponseWriter, r *http.Request) error {
	if err := offered(s.o.Demo, "faults of a demonstration"); err != nil {
		return err
	}
	faults, err := s.o.Demo.Faults(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, struct {
		Faults []DemoFault `json:"faults"`
	}{full(faults)})
}

func (s *Server) postFault(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Name string `json:"name"`
		On   bool   `json:"on"`
	}
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	if err := offered(s.o.Demo, "faults of a demonstration"); err != nil {
		return err
	}
	if err := s.o.Demo.SetFault(r.Context(), body.Name, body.On); err != nil {
		return err
	}
	return s.faults(w, r)
}
