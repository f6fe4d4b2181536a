package configs

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
)

// Digest returns a hash of the rig file and of everything that it resolved to
// (models, instruments, the service's defaults): two rigs with one digest are
// run alike.
func (r *Rig) Digest() string {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode(r); err != nil { //nolint:musttag // only ever compared
		_, _ = io.WriteString(h, err.Error()) // a range without end is no JSON; the text below tells rigs apart
	}
	if d := r.loader.l.files[r.File]; d != nil {
		for _, line := range d.lines {
			_, _ = io.WriteString(h, line+"\n")
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
