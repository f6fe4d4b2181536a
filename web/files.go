package web

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

func (c *CheckReport) fill() {
	c.Problems, c.Plan = full(c.Problems), full(c.Plan)
	for i := range c.Plan {
		c.Plan[i].Requests = full(c.Plan[i].Requests)
	}
}

func (s *Server) getFile(w http.ResponseWriter, r *http.Request) error {
	if err := queryOf(r).done(); err != nil {
		return err
	}
	if err := offered(s.o.Files, "rig files"); err != nil {
		return err
	}
	f, err := s.o.Files.RigFile(r.Context(), r.PathValue("rig"))
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/yaml; charset=utf-8")
	h.Set("ETag", strconv.Quote(f.ETag))
	if matches(r.Header.Get("If-None-Match"), strconv.Quote(f.ETag)) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(f.Text) // whoever asked is gone
	return nil
}

func (s *Server) putFile(w http.ResponseWriter, r *http.Request) error {
	if err := queryOf(r).done(); err != nil {
		return err
	}
	if err := offered(s.o.Files, "rig files"); err != nil {
		return err
	}
	tag, err := strconv.Unquote(strings.TrimPrefix(r.Header.Get("If-Match"), "W/"))
	if err != nil || tag == "" {
		return problem(CodeIfMatch)
	}
	text, err := readBody(w, r, "text/yaml", "application/yaml", "application/x-yaml")
	if err != nil {
		return err
	}
	if !utf8.Valid(text) {
		return problem(CodeBody, "it is not UTF-8")
	}
	name := r.PathValue("rig")
	report, f, err := s.o.Files.Replace(r.Context(), name, tag, text, language(r))
	if err != nil {
		return err
	}
	report.fill()
	if report.Wrong() {
		p := problem(CodeFile, f.Name, strconv.Itoa(countErrors(report.Problems)))
		p.Files = report.Problems
		return p
	}
	w.Header().Set("ETag", strconv.Quote(f.ETag))
	return writeJSON(w, http.StatusOK, report)
}

func countErrors(list []ProblemDocument) int {
	n := 0
	for i := range list {
		if list[i].Severity != SeverityWarning {
			n++
		}
	}
	return n
}

func (s *Server) postCheck(w http.ResponseWriter, r *http.Request) error {
	var body struct {
		Name string `json:"name"`
		Text string `json:"text"`
	}
	if err := readJSON(w, r, &body); err != nil {
		return err
	}
	if err := offered(s.o.Files, "checking of files"); err != nil {
		return err
	}
	report, err := s.o.Files.Check(r.Context(), body.Name, []byte(body.Text), language(r))
	if err != nil {
		return err
	}
	report.fill()
	return writeJSON(w, http.StatusOK, report)
}

const mostRegisters = 2000

// check refuses what is no address of a bus, before anything is dialled.
func (p *ProbeRequest) check() error {
	u, err := url.Parse(p.URL)
	if err != nil || u.Scheme == "" {
		return problem(CodeBody, "url is not the address of a bus, for example tcp://192.168.1.10:502 or rtu:///dev/ttyUSB0?baud=19200")
	}
	switch u.Scheme {
	case "tcp", "tls", "rtu+tcp":
		if _, _, err := net.SplitHostPort(u.Host); err != nil {
			return problem(CodeBody, "url has no host:port, for example tcp://192.168.1.10:502")
		}
	case "rtu":
		if !strings.HasPrefix(u.Path, "/dev/") || strings.Contains(u.Path, "..") {
			return problem(CodeBody, "url of a serial line is rtu:///dev/NAME, for example rtu:///dev/ttyUSB0?baud=19200")
		}
	default:
		return problem(CodeBody, "url does not begin with tcp, tls, rtu+tcp or rtu")
	}
	if p.Table != "" && p.Table != "holding" && p.Table != "input" {
		return problem(CodeBody, "table is not holding or input")
	}
	if p.From < 0 || p.From > 0xffff || p.Count < 0 || p.Count > mostRegisters || p.From+p.Count > 0x10000 {
		return problem(CodeBody, fmt.Sprintf("from and count are not within 0..65535 with at most %d registers", mostRegisters))
	}
	for _, n := range p.Units {
		if n < 0 || n > 255 {
			return problem(CodeBody, fmt.Sprintf("unit %d is not within 0..255", n))
		}
	}
	return nil
}

func (s *Server) postProbe(w http.ResponseWriter, r *http.Request) error {
	var want ProbeRequest
	if err := readJSON(w, r, &want); err != nil {
		return err
	}
	if err := offered(s.o.Prober, "probing"); err != nil {
		return err
	}
	if err := want.check(); err != nil {
		return err
	}
	p, err := s.o.Prober.Probe(r.Context(), want)
	if err != nil {
		return err
	}
	p.Units = full(p.Units)
	for i := range p.Units {
		p.Units[i].Registers = full(p.Units[i].Registers)
		if p.Units[i].Identity == nil {
			p.Units[i].Identity = map[string]string{}
		}
	}
	return writeJSON(w, http.StatusOK, p)
}
