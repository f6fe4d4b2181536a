package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

//go:embed page
var embedded embed.FS

func pageFiles() fs.FS {
	sub, err := fs.Sub(embedded, "page")
	if err != nil {
		panic("BUG: page is not embedded: " + err.Error())
	}
	return sub
}

// page is the files of the page, compressed once.
type page struct{ files map[string]*pageFile }

type pageFile struct {
	plain, packed []byte // packed is nil where it gains nothing
	media         string
	tag           string
}

const (
	indexFile = "index.html"
	loginFile = "login.html"
)

func mediaType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".js", ".mjs":
		return "text/javascript; charset=utf-8"
	case ".json":
		return "application/json; charset=utf-8"
	case ".webmanifest":
		return "application/manifest+json"
	case ".svg":
		return "image/svg+xml"
	case ".png":
		return "image/png"
	case ".ico":
		return "image/x-icon"
	case ".txt", ".md", "":
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}

func newPage(files fs.FS) (*page, error) {
	p := &page{files: map[string]*pageFile{}}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return err //nolint:wrapcheck // wrapped below
		}
		sum := sha256.Sum256(text)
		f := &pageFile{plain: text, media: mediaType(name), tag: hex.EncodeToString(sum[:12])}
		packed, err := pack(text)
		if err != nil {
			return err
		}
		if len(packed) < len(text)*9/10 {
			f.packed = packed
		}
		p.files[name] = f
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the page: %w", err)
	}
	if p.files[indexFile] == nil {
		return nil, fmt.Errorf("read the page: there is no %s", indexFile)
	}
	return p, nil
}

func pack(text []byte) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if _, err := z.Write(text); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return b.Bytes(), nil
}

// getPage serves the files of the page. Documents need a session: without one
// the answer is 401 with a page to log in. Scripts and styles hold no data and
// need none.
func (s *Server) getPage(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return problem(CodeMethod, r.Method, r.URL.Path)
	}
	if token := r.URL.Query().Get("token"); token != "" && r.Method == http.MethodGet {
		if err := s.admit(w, r, token); err != nil {
			if whoOf(r.Context()).Role != "" { // the same link once more in the browser that it let in
				http.Redirect(w, r, "/", http.StatusSeeOther)
				return nil
			}
			return s.askToLogIn(w, r, asProblem(err))
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return nil
	}
	name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
	if name == "" {
		name = indexFile
	}
	f := s.page.files[name]
	if f == nil && path.Ext(name) == "" { // an address within the page
		name, f = indexFile, s.page.files[indexFile]
	}
	if f == nil {
		return problem(CodePath, r.URL.Path)
	}
	if path.Ext(name) == ".html" && whoOf(r.Context()).Role == "" {
		return s.askToLogIn(w, r, problem(CodeSession))
	}
	f.write(w, r, http.StatusOK)
	return nil
}

// askToLogIn answers with the page to log in.
func (s *Server) askToLogIn(w http.ResponseWriter, r *http.Request, p *Problem) error {
	m := lookup(p.Code)
	w.Header().Set("WWW-Authenticate", `Bearer realm="pneudaq"`)
	if f := s.page.files[loginFile]; f != nil {
		w.Header().Set("Pneudaq-Code", string(p.Code))
		f.write(w, r, m.status)
		return nil
	}
	i := index(language(r))
	body := "<!doctype html><html lang=\"" + string(language(r)) + "\"><meta charset=\"utf-8\"><title>pneudaq</title><h1>" + m.title[i] + "</h1><p>" +
		expand(m.detail[i], p.Args) + "</p><p>" + expand(m.do[i], p.Args) + "</p></html>\n" // fixed texts and numbers only
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(m.status)
	_, _ = w.Write([]byte(body)) // whoever asked is gone
	return nil
}

// write sends the file, compressed if the browser takes that, or says that it
// has not changed.
func (f *pageFile) write(w http.ResponseWriter, r *http.Request, status int) {
	h := w.Header()
	body, tag := f.plain, `"`+f.tag+`"`
	if f.packed != nil {
		h.Add("Vary", "Accept-Encoding")
		if takesGzip(r) {
			body, tag = f.packed, `"`+f.tag+`-gz"`
			h.Set("Content-Encoding", "gzip")
		}
	}
	h.Set("Content-Type", f.media)
	if status == http.StatusOK {
		h.Set("ETag", tag)
		h.Set("Cache-Control", "no-cache")
		if matches(r.Header.Get("If-None-Match"), tag) {
			h.Del("Content-Encoding")
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // whoever asked is gone
	}
}

func takesGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		if name, q := weighted(part); name == "gzip" {
			return q > 0
		}
	}
	return false
}

// matches reports whether a list of entity tags has one of them.
func matches(list, tag string) bool {
	if strings.TrimSpace(list) == "*" {
		return true
	}
	return slices.ContainsFunc(strings.Split(list, ","), func(t string) bool {
		return strings.TrimPrefix(strings.TrimSpace(t), "W/") == tag
	})
}
