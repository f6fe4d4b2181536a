package mqtt

import (
	"crypto/sha256"
	"encoding/binary"
)

// A mark makes a message recognisable when the broker sends it again: packet
// id (2 bytes), session (8), hash of topic and payload (16). The packet id
// stands in it as it is, because a broker gives it to another message once the
// first is acknowledged: only the latest mark of an id counts.
const markSize = 26

type content [16]byte

// sessionHash names the broker's session: client id and broker.
func sessionHash(endpoint, clientID string) [8]byte {
	h := sha256.Sum256([]byte(endpoint + "\x00" + clientID))
	return [8]byte(h[:8])
}

// contentHash is over topic and payload.
func contentHash(scratch []byte, topic string, payload []byte) (content, []byte) {
	scratch = binary.BigEndian.AppendUint16(scratch[:0], uint16(len(topic)))
	scratch = append(scratch, topic...)
	scratch = append(scratch, payload...)
	h := sha256.Sum256(scratch)
	return content(h[:16]), scratch
}

func appendMark(dst []byte, id uint16, session [8]byte, c content) []byte {
	dst = binary.BigEndian.AppendUint16(dst, id)
	dst = append(dst, session[:]...)
	return append(dst, c[:]...)
}

// marks remembers the latest content of each packet id of the session.
type marks struct {
	session [8]byte
	known   map[uint16]content
}

func (m *marks) learn(mark []byte) {
	if len(mark) != markSize || [8]byte(mark[2:10]) != m.session {
		return
	}
	m.known[binary.BigEndian.Uint16(mark)] = content(mark[10:])
}
